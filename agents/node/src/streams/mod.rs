//! The kubelet API: logs, exec, attach, port-forward, and what is asked about the node.

mod channel;
mod exec;
mod exit_status;
pub(crate) mod log_line;
mod log_reader;
mod log_render;
mod logs;
mod metrics;
mod port_forward;
mod query;
mod respond;
mod routes;
mod server;
mod session;
mod spdy;
#[cfg(test)]
pub(crate) mod testing;
mod websocket;

pub(crate) use server::serve;
