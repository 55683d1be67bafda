//! Upstream's `apiserver_authorization_config_controller_*` metrics.

use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec, Opts, Registry};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

/// The metrics of one server.
#[derive(Debug, Clone)]
pub(super) struct ReloadMetrics {
    server: String,
    reloads: IntCounterVec,
    last: GaugeVec,
    config: IntGaugeVec,
}

impl ReloadMetrics {
    /// Registers them; `server` is what tells this server from others of its cluster.
    ///
    /// # Errors
    /// A name that is taken.
    pub(super) fn register(registry: &Registry, server: &str) -> Result<Self, prometheus::Error> {
        let opts = |name: &str, help: &str| {
            Opts::new(format!("apiserver_authorization_config_controller_{name}"), help)
        };
        let metrics = Self {
            server: hash(server),
            reloads: IntCounterVec::new(
                opts(
                    "automatic_reloads_total",
                    "Total number of automatic reloads of authorization configuration split by status and apiserver identity.",
                ),
                &["status", "apiserver_id_hash"],
            )?,
            last: GaugeVec::new(
                opts(
                    "automatic_reload_last_timestamp_seconds",
                    "Timestamp of the last automatic reload of authorization configuration split by status and apiserver identity.",
                ),
                &["status", "apiserver_id_hash"],
            )?,
            config: IntGaugeVec::new(
                opts(
                    "last_config_info",
                    "Information about the last applied authorization configuration with hash as label, split by apiserver identity.",
                ),
                &["apiserver_id_hash", "hash"],
            )?,
        };
        registry.register(Box::new(metrics.reloads.clone()))?;
        registry.register(Box::new(metrics.last.clone()))?;
        registry.register(Box::new(metrics.config.clone()))?;
        Ok(metrics)
    }

    /// The file whose text is `text` is in force.
    pub(super) fn in_force(&self, text: &str) {
        self.config.reset();
        self.config.with_label_values(&[self.server.as_str(), &hash(text)]).set(1);
    }

    /// A changed file was read at `now`.
    pub(super) fn read(&self, good: bool, now: OffsetDateTime) {
        let labels = [if good { "success" } else { "failure" }, self.server.as_str()];
        self.reloads.with_label_values(&labels).inc();
        self.last.with_label_values(&labels).set(now.unix_timestamp_nanos() as f64 / 1e9);
    }
}

fn hash(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = "sha256:".to_owned();
    for byte in Sha256::digest(text.as_bytes()) {
        // Text takes whatever is written.
        write!(out, "{byte:02x}").unwrap_or_default();
    }
    out
}
