//! The daemon's half: what exists, what is asked of it through the CRI traits, and how it is found again after a
//! restart. It calls shims and never libcontainer.

mod containers;
mod create;
mod exec;
mod pty;
mod records;
mod recover;
mod runtime;
mod sandboxes;
mod service;
mod spawn;
mod stats;
mod status;
mod streams;
mod teardown;

pub use runtime::Runtime;
pub use teardown::teardown;
