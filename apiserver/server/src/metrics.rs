//! Metrics under upstream's names and labels, so that existing dashboards work.

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::audit::AuditMetrics;
use crate::flow::FlowMetrics;

/// Upstream's buckets for request durations, in seconds.
const DURATION_BUCKETS: &[f64] = &[
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0,
    20.0, 30.0, 45.0, 60.0,
];

/// The server's metrics.
#[derive(Clone)]
pub struct Metrics {
    /// `apiserver_request_total`.
    pub requests: IntCounterVec,
    /// `apiserver_request_duration_seconds`.
    pub durations: HistogramVec,
    /// `apiserver_current_inflight_requests`.
    pub inflight: IntGaugeVec,
    /// `apiserver_longrunning_requests`.
    pub long_running: IntGaugeVec,
    /// `apiserver_watch_events_total`.
    pub watch_events: IntCounterVec,
    /// `apiserver_request_terminations_total`.
    pub terminations: IntCounterVec,
    /// `apiserver_tls_handshake_errors_total`.
    pub handshake_errors: prometheus::IntCounter,
    /// `apiserver_storage_decode_errors_total`.
    pub undecodable: IntCounterVec,
    /// `apiserver_flowcontrol_*`.
    pub(crate) flow: FlowMetrics,
    /// `apiserver_audit_*`.
    pub(crate) audit: AuditMetrics,
    /// `apiserver_open_connections`.
    pub connections: IntGauge,
    /// Where all of them, and those of other parts, are read from.
    pub registry: Registry,
}

impl Metrics {
    /// Registers everything in `registry`.
    ///
    /// # Errors
    /// A name that is taken.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let request_labels =
            ["verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component"];
        let with_code = [&request_labels[..], &["code"]].concat();
        let metrics = Self {
            requests: IntCounterVec::new(
                Opts::new(
                    "apiserver_request_total",
                    "Counter of apiserver requests broken out for each verb, resource and code.",
                ),
                &with_code,
            )?,
            durations: HistogramVec::new(
                HistogramOpts::new(
                    "apiserver_request_duration_seconds",
                    "Response latency distribution in seconds.",
                )
                .buckets(DURATION_BUCKETS.to_vec()),
                &request_labels,
            )?,
            inflight: IntGaugeVec::new(
                Opts::new("apiserver_current_inflight_requests", "Requests handled now, by request kind."),
                &["request_kind"],
            )?,
            long_running: IntGaugeVec::new(
                Opts::new("apiserver_longrunning_requests", "Long-running requests open now."),
                &["verb", "group", "version", "resource", "subresource", "scope", "component"],
            )?,
            watch_events: IntCounterVec::new(
                Opts::new("apiserver_watch_events_total", "Number of events sent in watch clients."),
                &["group", "version", "resource"],
            )?,
            terminations: IntCounterVec::new(
                Opts::new(
                    "apiserver_request_terminations_total",
                    "Requests ended by the server in self-defense.",
                ),
                &["code"],
            )?,
            handshake_errors: prometheus::IntCounter::new(
                "apiserver_tls_handshake_errors_total",
                "Number of requests dropped with TLS handshake errors.",
            )?,
            undecodable: IntCounterVec::new(
                Opts::new(
                    "apiserver_storage_decode_errors_total",
                    "Number of stored objects that could not be decoded.",
                ),
                &["resource"],
            )?,
            connections: IntGauge::new("apiserver_open_connections", "Client connections open now.")?,
            flow: FlowMetrics::register(registry)?,
            audit: AuditMetrics::register(registry)?,
            registry: registry.clone(),
        };
        metrics.add_to(registry)?;
        Ok(metrics)
    }

    fn add_to(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(self.requests.clone()))?;
        registry.register(Box::new(self.durations.clone()))?;
        registry.register(Box::new(self.inflight.clone()))?;
        registry.register(Box::new(self.long_running.clone()))?;
        registry.register(Box::new(self.watch_events.clone()))?;
        registry.register(Box::new(self.terminations.clone()))?;
        registry.register(Box::new(self.handshake_errors.clone()))?;
        registry.register(Box::new(self.undecodable.clone()))?;
        registry.register(Box::new(self.connections.clone()))
    }
}
