//! Allocation of cluster addresses and node ports for Services.
//!
//! An address or port is taken by writing a claim into the store in a transaction that fails if there is one
//! already, so that no two Services ever get the same, whichever server asks. A claim is given up when no Service
//! holds its value any more: after a failed write, after a deletion, and in the repair at start.

pub mod allocator;
pub mod claims;
pub mod pool;
pub mod release;
pub mod spec;

pub use allocator::{AllocatorConfig, ServiceAllocator};
pub use claims::{Claim, Claims, ClaimsError};
pub use pool::{Pool, PoolError};
