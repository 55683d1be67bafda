//! Upstream's `apiserver_audit_*` metrics.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

/// The counters of the audit log.
#[derive(Clone)]
pub(crate) struct AuditMetrics {
    /// `apiserver_audit_event_total`.
    pub(super) events: IntCounter,
    /// `apiserver_audit_error_total`, by backend.
    pub(super) errors: IntCounterVec,
    /// `apiserver_audit_level_total`.
    pub(super) levels: IntCounterVec,
    /// `apiserver_audit_requests_rejected_total`.
    pub(super) rejected: IntCounter,
}

impl AuditMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// A name that is taken.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            events: IntCounter::new(
                "apiserver_audit_event_total",
                "Counter of audit events generated and sent to the audit backend.",
            )?,
            errors: IntCounterVec::new(
                Opts::new(
                    "apiserver_audit_error_total",
                    "Counter of audit events that failed to be audited properly, by plugin.",
                ),
                &["plugin"],
            )?,
            levels: IntCounterVec::new(
                Opts::new("apiserver_audit_level_total", "Counter of policy levels for audit events."),
                &["level"],
            )?,
            rejected: IntCounter::new(
                "apiserver_audit_requests_rejected_total",
                "Counter of requests rejected because their audit event could not be stored.",
            )?,
        };
        registry.register(Box::new(metrics.events.clone()))?;
        registry.register(Box::new(metrics.errors.clone()))?;
        registry.register(Box::new(metrics.levels.clone()))?;
        registry.register(Box::new(metrics.rejected.clone()))?;
        Ok(metrics)
    }
}
