//! Containers on one node without containerd or Docker: images, sandboxes, network, and containers run through
//! libcontainer. See docs/ARCHITECTURE.md.

mod config;
mod durable;
mod failure;
pub mod images;

pub use config::{Config, ImageLimits};
pub use failure::{Failure, Result};
