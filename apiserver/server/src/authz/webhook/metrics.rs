//! Upstream's `apiserver_authorization_webhook_*` metrics.

use prometheus::{IntCounterVec, Opts, Registry};

/// The metrics.
#[derive(Debug, Clone)]
pub(crate) struct AuthorizationMetrics {
    /// `apiserver_authorization_webhook_evaluations_total`.
    pub(super) evaluations: IntCounterVec,
    /// `apiserver_authorization_webhook_evaluations_fail_open_total`.
    pub(super) failed_open: IntCounterVec,
}

impl AuthorizationMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// A name that is taken.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            IntCounterVec::new(Opts::new(format!("apiserver_authorization_webhook_{name}"), help), labels)
        };
        let metrics = Self {
            evaluations: counter(
                "evaluations_total",
                "Round-trips to authorization webhooks.",
                &["name", "result"],
            )?,
            failed_open: counter(
                "evaluations_fail_open_total",
                "NoOpinion results due to webhook timeout or error.",
                &["name", "result"],
            )?,
        };
        registry.register(Box::new(metrics.evaluations.clone()))?;
        registry.register(Box::new(metrics.failed_open.clone()))?;
        Ok(metrics)
    }
}
