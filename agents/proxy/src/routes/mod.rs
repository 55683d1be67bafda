//! Routes to the pods of other nodes: straight to the node, which must be on the same network ("host-gw").
//!
//! Only routes that carry this program's mark and lead into the cluster's pod range are ever changed.

mod plan;
mod sync;
mod table;

pub use plan::{Routes, plan, wanted};
pub use sync::spawn;
pub use table::{RouteError, remove};
