//! A store behind etcd's gRPC API: `mainstay store`, or an etcd.
//!
//! Pure: [`keys`] (where things lie in it), [`convert`] (its messages), [`refusals`] (its errors), [`changes`] (what a
//! watch tells). IO: [`connector`], [`endpoints`], [`client`], [`watch`].

mod changes;
mod client;
mod config;
mod connector;
mod convert;
mod endpoints;
mod keys;
mod refusals;
mod shared_question;
mod tls;
mod watch;

pub use client::EtcdClient;
pub use config::{EtcdConfig, EtcdConfigError, EtcdTls};
pub use watch::EtcdWatch;
