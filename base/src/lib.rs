//! What every Mainstay program part stands on: task lifecycle and time, tracing and metrics, certificates, and its version.
//!
//! This crate knows no Kubernetes objects, no store and no containers.

pub mod lifecycle;
pub mod pki;
pub mod telemetry;
mod version;

pub use version::version;
