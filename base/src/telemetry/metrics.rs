//! The Prometheus text form of a registry, and the process's own figures.

use std::fs;

use prometheus::core::Collector;
use prometheus::{Encoder, IntGauge, Registry, TextEncoder};

/// Why metrics could not be made or written.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// A metric could not be made or registered under its name.
    #[error("metric could not be registered or written")]
    Prometheus(#[source] prometheus::Error),
    /// The text is not UTF-8, which a label value can cause.
    #[error("metrics text is not UTF-8")]
    Encoding(#[source] std::string::FromUtf8Error),
}

/// The exposition text (`text/plain; version=0.0.4`) of everything in `registry`.
///
/// # Errors
/// A metric family that cannot be written.
pub fn encode_text(registry: &Registry) -> Result<String, MetricsError> {
    let mut text = Vec::with_capacity(16 * 1024);
    TextEncoder::new().encode(&registry.gather(), &mut text).map_err(MetricsError::Prometheus)?;
    String::from_utf8(text).map_err(MetricsError::Encoding)
}

/// Registers `process_resident_memory_bytes` and `process_open_fds`, read from /proc at each scrape.
///
/// # Errors
/// The names are taken in this registry.
pub fn process_metrics(registry: &Registry) -> Result<(), MetricsError> {
    let process = ProcessMetrics::new().map_err(MetricsError::Prometheus)?;
    registry.register(Box::new(process)).map_err(MetricsError::Prometheus)
}

struct ProcessMetrics {
    resident: IntGauge,
    descriptors: IntGauge,
}

impl ProcessMetrics {
    fn new() -> Result<Self, prometheus::Error> {
        Ok(Self {
            resident: IntGauge::new("process_resident_memory_bytes", "Resident memory size in bytes.")?,
            descriptors: IntGauge::new("process_open_fds", "Number of open file descriptors.")?,
        })
    }
}

impl Collector for ProcessMetrics {
    fn desc(&self) -> Vec<&prometheus::core::Desc> {
        [self.resident.desc(), self.descriptors.desc()].concat()
    }

    fn collect(&self) -> Vec<prometheus::proto::MetricFamily> {
        if let Some(bytes) = resident_bytes() {
            self.resident.set(bytes);
        }
        if let Ok(entries) = fs::read_dir("/proc/self/fd") {
            self.descriptors.set(i64::try_from(entries.count()).unwrap_or(i64::MAX));
        }
        [self.resident.collect(), self.descriptors.collect()].concat()
    }
}

fn resident_bytes() -> Option<i64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kibibytes: i64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_figures_appear_in_the_text() {
        let registry = Registry::new();
        process_metrics(&registry).unwrap();
        let text = encode_text(&registry).unwrap();
        let line = text.lines().find(|line| line.starts_with("process_resident_memory_bytes ")).unwrap();
        let bytes: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
        assert!(bytes > 1024.0, "{line}");
    }

    #[test]
    fn a_name_is_registered_once() {
        let registry = Registry::new();
        process_metrics(&registry).unwrap();
        assert!(process_metrics(&registry).is_err());
    }
}
