//! The store as etcd's clients know it: gRPC, its JSON gateway, health and metrics, on one port.
//!
//! Thin: requests become calls of [`Store`](crate::Store), its errors become etcd's codes and texts. Nothing is decided here that a caller
//! of the library would miss.
//!
//! Where things go: a request enters in [`listener`], [`router`] finds its service, [`access`] says whether the caller may, [`convert`]
//! turns it into the library's types, and [`refusal`] is the one place that turns errors into statuses.
mod access;
mod auth;
mod authority;
mod auto_compaction;
mod candidates;
mod cluster;
mod config;
mod convert;
mod election;
mod endpoint;
mod face;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod gateway;
mod gathered;
mod grpc_metrics;
mod jwt;
mod kv;
mod lease;
mod listener;
mod lock;
mod maintenance;
mod metered;
mod metrics;
mod metrics_text;
mod pace;
mod pages;
mod range_stream;
mod refusal;
mod router;
mod server;
mod snapshot;
mod tls;
mod token_option;
mod traced;
mod unary;
mod version;
mod watch;

pub use auto_compaction::{AutoCompaction, auto_compact};
pub use config::FaceConfig;
pub use endpoint::{Endpoint, EndpointError};
pub use jwt::{Jwt, JwtError};
pub use listener::{BindError, Listener};
pub use metrics::store_metrics;
pub use server::Server;
pub use tls::{TlsError, TlsFiles};
pub use token_option::{AuthTokenError, AuthTokens};
pub use version::{ETCD_CLUSTER_VERSION, ETCD_VERSION};
