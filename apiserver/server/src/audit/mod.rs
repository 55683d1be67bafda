//! The audit log: who asked for what, when, and what became of it, as events of `audit.k8s.io/v1`.
//!
//! [`Policy`] decides (purely) how much is told of a request; a [`Trail`] gathers it while the request runs;
//! the [`Auditor`] hands finished events to a file and to a webhook. Without a policy nothing of this costs anything.
//! An event never holds a credential: headers are not part of it.

mod auditor;
mod body;
mod event;
mod log_file;
mod metrics;
mod object;
mod policy;
#[cfg(test)]
mod policy_tests;
mod trail;
mod webhook;

pub(crate) use auditor::Asked;
pub use auditor::{AuditConfig, Auditor};
pub(crate) use body::{listened, observed};
pub use log_file::{LogError, LogFile};
pub(crate) use metrics::AuditMetrics;
pub use policy::{Policy, PolicyError};
pub(crate) use trail::{Trail, annotate, annotate_request, auditing, with_trail};
pub use webhook::BatchBounds;
