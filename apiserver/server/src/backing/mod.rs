//! Where objects are kept: the store in this process, or another one that speaks etcd's API.
//!
//! This is the one seam between the API server and a store. It has only what the server asks of a store, in the store
//! library's own words; nothing above it knows which of the two it is.

#[allow(clippy::module_inception, reason = "its main type")]
mod backing;
mod error;
mod etcd;

pub use backing::{Backing, Following};
pub use error::BackingError;
pub use etcd::{EtcdClient, EtcdConfig, EtcdConfigError, EtcdTls, EtcdWatch};
