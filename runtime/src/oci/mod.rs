//! The helper: a process of one thread and a few milliseconds that alone calls libcontainer, to start a container or
//! to run a command in one.

mod executor;
mod main;
mod request;

pub use main::{SUBCOMMAND, main};
pub(crate) use request::{HelperRequest, HelperResult};
