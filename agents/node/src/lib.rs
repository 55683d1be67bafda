//! `mainstay-agents-node`: the node agent. It sees pods bound to its node through the Kubernetes API, and containers
//! through the CRI traits; it knows neither the store nor how containers are made.
//!
//! This file is the wiring: small loops, one file each, joined by `tokio::sync::watch` snapshots.
//!
//! | loop | file | takes | gives |
//! |---|---|---|---|
//! | desired | `desired.rs` | pods of this node (informer) | pods by uid |
//! | observer | `observer.rs` | runtime list and event stream | records by uid |
//! | workers | `workers.rs` | both | one worker per pod |
//! | worker | `worker/run.rs` | its pod, its records, probes, sources | steps (`worker/plan.rs`, pure), status patches |
//! | node | `node/reporter.rs` | machine, runtime status | the Node object |
//! | heartbeat | `node/heartbeat.rs` | time | the Lease |
//! | gc | `gc.rs` | both | leftover files removed |
//! | streams | `streams/` | kubelet API requests | logs, exec, attach, port-forward |

#![allow(
    clippy::missing_panics_doc,
    clippy::cast_possible_truncation,
    reason = "only tests panic; sizes and counts here are far below the limits of their types"
)]

mod admission;
mod agent;
mod config;
mod desired;
mod gc;
mod hooks;
mod names;
mod node;
mod observer;
mod pod_events;
mod probes;
mod runtime_state;
mod sources;
mod spec;
mod start;
mod status;
mod streams;
mod termination_message;
#[cfg(test)]
mod testing;
mod volumes;
mod worker;
mod workers;

pub use config::Config;
pub use start::{NodeAgent, StartError, run};
