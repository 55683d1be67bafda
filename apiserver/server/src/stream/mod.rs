//! Streaming to node agents and pods: exec, attach, logs, port-forward, proxy.
//!
//! The server only carries bytes. It opens one connection per request, never follows a redirect, never reuses a
//! connection on which an upgrade was refused, and never lets a proxy reach loopback or link-local addresses.

mod agent_answer;
pub mod backend;
mod connect;
pub mod endpoints;
pub mod forward;
pub mod guard;
pub mod node;
pub mod pod_options;
pub mod pod_streams;
pub mod proxy;
pub mod proxy_target;

pub use backend::{Backend, BackendError};
pub use endpoints::{Streams, endpoints};
