//! Containers on one node without containerd or Docker: images, sandboxes, network, and containers run through
//! libcontainer. See docs/ARCHITECTURE.md.
#![allow(
    clippy::struct_excessive_bools,
    clippy::struct_field_names,
    reason = "records and requests are flat lists of independent facts"
)]

mod cgroup;
mod config;
mod daemon;
mod durable;
mod failure;
#[cfg(test)]
mod golden;
pub mod images;
mod network;
pub mod oci;
pub mod shim;
mod spec;
mod sys;

pub use config::{Config, ImageLimits};
pub use daemon::{Runtime, teardown};
pub use failure::{Failure, Result};

/// First hidden argument of a shim: the executable passes the rest to [`shim::main`], before any thread exists.
pub const SHIM_COMMAND: &str = shim::SUBCOMMAND;
/// First hidden argument of a container helper: the rest goes to [`oci::main`], before any thread exists.
pub const OCI_COMMAND: &str = oci::SUBCOMMAND;
