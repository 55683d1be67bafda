//! The public wires that are not Kubernetes REST: message types generated from our own `.proto` texts, and the Rust
//! traits that stand for the same services inside one process. No IO and no behaviour here.

pub mod cri;
#[cfg(feature = "etcd")]
pub mod etcd;
#[cfg(feature = "otlp")]
pub mod otlp;
