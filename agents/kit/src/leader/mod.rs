//! Leader election by a Lease: of several processes that want to run the same loops, one does.
//!
//! A candidate watches the Lease and takes it once it has not changed for as long as its holder said. The holder renews it,
//! and stops its loops well before that time is over, so that no two act at once (docs/decisions/0045).

mod elector;
mod rule;

pub use elector::{Election, Started};
pub use rule::Timings;
