//! Kinds of apps/v1.

mod controller_revision;
mod daemon_set;
mod deployment;
mod replica_set;
pub(crate) mod replicas;
mod stateful_set;
pub(crate) mod template;

pub use controller_revision::CONTROLLER_REVISION;
pub use daemon_set::DAEMON_SET;
pub use deployment::DEPLOYMENT;
pub use replica_set::REPLICA_SET;
pub use stateful_set::STATEFUL_SET;
