//! The kubelet API: logs, exec, attach, port-forward, and what is asked about the node.

pub(crate) mod log_line;
mod logs;
mod log_reader;
mod log_render;
mod query;
mod respond;
mod routes;
mod server;

pub(crate) use server::serve;
