//! The shim: one tiny process per pod that outlives the daemon. It is the parent of the pod's container processes,
//! owns their log pipes and terminals, and writes down how each ended. The daemon talks to it over a unix socket
//! ([`protocol`]); what it does is in [`server`], how the daemon calls it in [`client`].

mod client;
mod container;
mod log;
mod main;
mod output;
mod packets;
mod pause;
mod pending;
mod protocol;
mod server;

pub(crate) use client::{Client, Event};
pub use main::{SUBCOMMAND, main};
pub(crate) use protocol::{Body, Exit, LogLimits, Op, RunContainer, RunExec, ShimConfig, State};
