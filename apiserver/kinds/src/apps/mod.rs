//! Kinds of apps/v1.

mod deployment;
mod replica_set;
pub(crate) mod template;

pub use deployment::DEPLOYMENT;
pub use replica_set::REPLICA_SET;
