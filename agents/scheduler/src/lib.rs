//! `mainstay-agents-scheduler`: gives every pending pod a node.
//!
//! Pods wait in a [`queue`]; for one at a time the pure [`place`] looks at the [`state::Snapshot`] of nodes and assigned pods, asks the
//! [`filters`] which nodes could take it and the [`scores`] which of those is best, under upstream's plugin names and
//! weights. The choice is assumed at once, so that the next pod is placed while the binding is still on its way. A pod
//! that fits nowhere gets its `PodScheduled` condition and a `FailedScheduling` event that counts the reasons by node,
//! and waits until a change of the cluster could help it.

#![cfg_attr(test, allow(clippy::needless_pass_by_value, reason = "test builders read better with literals"))]

mod config;
mod diagnosis;
mod events;
mod filters;
mod framework;
mod outcome;
mod place;
mod queue;
mod scheduler;
mod scores;
mod state;

pub use config::{Config, run};
