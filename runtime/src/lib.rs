//! Containers on one node without containerd or Docker: images, sandboxes, network, and containers run through
//! libcontainer. See docs/ARCHITECTURE.md.

mod cgroup;
mod config;
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
pub use failure::{Failure, Result};
