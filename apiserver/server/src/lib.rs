//! The API server: Kubernetes REST over TLS on top of the store.
//!
//! A request runs through [`http_face`] (connection, bounds), [`request`] (path, parameters), authentication, flow
//! limits, authorization, [`handlers`], the kind's rules with admission around them, and ends in [`registry`], the one
//! door to stored objects, which are kept behind [`backing`]. Reads are served by [`cache`]. Only this crate talks to the
//! store.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "sizes and revisions are bounded far below the limits of the types"
)]

pub mod admission;
pub mod aggregation;
pub mod audit;
pub mod authn;
pub mod authz;
pub mod backing;
pub mod bootstrap;
pub mod cache;
pub mod callout;
mod compactor;
pub mod config;
pub mod core;
pub mod discovery;
pub mod encoding;
pub mod encryption;
pub mod extensions;
pub mod failure;
mod flow;
mod front;
pub mod handlers;
pub mod http_face;
pub mod metrics;
pub mod outbound;
pub mod registry;
pub mod request;
pub mod reviews;
pub mod selection;
pub mod server;
pub mod services;
pub mod stream;
pub mod subresources;
pub mod types;
mod ui;

pub use backing::{Backing, EtcdClient, EtcdConfig, EtcdConfigError, EtcdTls};
pub use server::{ApiServer, StartError, start, start_stale, start_with};
