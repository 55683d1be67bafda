//! The whole control plane in this process: store, API server over TLS, controllers and scheduler, each with its own
//! certificate. Only the nodes are hollow: they say that they are Ready and that their pods run.
//!
//! Needs nothing of the machine: no root, no containers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod budgets;
mod certificates;
mod custom_kinds;
mod hollow_node;
mod plane;
mod servers;
mod volumes;
mod workloads;
