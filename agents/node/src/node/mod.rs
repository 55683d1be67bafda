//! The Node object and its lease: registration, status, heartbeat.

mod conditions;
mod heartbeat;
mod machine;
mod object;
mod reporter;

pub(crate) use heartbeat::run as run_heartbeat;
pub(crate) use machine::{Machine, allocatable, capacity};
pub(crate) use object::Identity;
pub(crate) use reporter::{Reporter, follow_node};
