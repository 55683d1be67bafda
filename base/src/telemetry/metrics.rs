//! The Prometheus text form of a registry, and the process's own figures.

use std::fs;

use prometheus::core::Collector;
use prometheus::{Counter, Encoder, Gauge, IntGauge, Registry, TextEncoder};

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

/// Registers what Prometheus' client libraries tell of a process (memory, CPU time, file descriptors, start), read from /proc at each scrape.
///
/// # Errors
/// The names are taken in this registry.
pub fn process_metrics(registry: &Registry) -> Result<(), MetricsError> {
    let process = ProcessMetrics::new().map_err(MetricsError::Prometheus)?;
    registry.register(Box::new(process)).map_err(MetricsError::Prometheus)
}

/// What Linux counts CPU time in: a hundredth of a second, on every machine that it runs on here.
const TICKS_PER_SECOND: f64 = 100.0;

struct ProcessMetrics {
    resident: IntGauge,
    virtual_memory: IntGauge,
    descriptors: IntGauge,
    descriptors_max: IntGauge,
    start: Gauge,
    cpu: Counter,
}

impl ProcessMetrics {
    fn new() -> Result<Self, prometheus::Error> {
        Ok(Self {
            resident: IntGauge::new("process_resident_memory_bytes", "Resident memory size in bytes.")?,
            virtual_memory: IntGauge::new("process_virtual_memory_bytes", "Virtual memory size in bytes.")?,
            descriptors: IntGauge::new("process_open_fds", "Number of open file descriptors.")?,
            descriptors_max: IntGauge::new("process_max_fds", "Maximum number of open file descriptors.")?,
            start: Gauge::new(
                "process_start_time_seconds",
                "Start time of the process since unix epoch in seconds.",
            )?,
            cpu: Counter::new(
                "process_cpu_seconds_total",
                "Total user and system CPU time spent in seconds.",
            )?,
        })
    }

    fn refresh(&self) {
        if let Ok(status) = fs::read_to_string("/proc/self/status") {
            for (name, gauge) in [("VmRSS:", &self.resident), ("VmSize:", &self.virtual_memory)] {
                if let Some(bytes) = kibibytes(&status, name) {
                    gauge.set(bytes);
                }
            }
        }
        if let Ok(entries) = fs::read_dir("/proc/self/fd") {
            self.descriptors.set(i64::try_from(entries.count()).unwrap_or(i64::MAX));
        }
        if let Some(max) = fs::read_to_string("/proc/self/limits").ok().as_deref().and_then(open_files_max) {
            self.descriptors_max.set(max);
        }
        let (Ok(own), Ok(machine)) =
            (fs::read_to_string("/proc/self/stat"), fs::read_to_string("/proc/stat"))
        else {
            return;
        };
        if let Some((cpu, start)) = times(&own) {
            self.cpu.inc_by((cpu - self.cpu.get()).max(0.0));
            if let Some(boot) = boot_time(&machine) {
                self.start.set(boot + start);
            }
        }
    }
}

impl Collector for ProcessMetrics {
    fn desc(&self) -> Vec<&prometheus::core::Desc> {
        [
            self.resident.desc(),
            self.virtual_memory.desc(),
            self.descriptors.desc(),
            self.descriptors_max.desc(),
            self.start.desc(),
            self.cpu.desc(),
        ]
        .concat()
    }

    fn collect(&self) -> Vec<prometheus::proto::MetricFamily> {
        self.refresh();
        [
            self.resident.collect(),
            self.virtual_memory.collect(),
            self.descriptors.collect(),
            self.descriptors_max.collect(),
            self.start.collect(),
            self.cpu.collect(),
        ]
        .concat()
    }
}

fn kibibytes(status: &str, name: &str) -> Option<i64> {
    let line = status.lines().find(|line| line.starts_with(name))?;
    let kibibytes: i64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}

fn open_files_max(limits: &str) -> Option<i64> {
    let line = limits.lines().find(|line| line.starts_with("Max open files"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

/// CPU time, and the time of the start after that of the machine, in seconds. The name before, in brackets, may hold anything.
fn times(stat: &str) -> Option<(f64, f64)> {
    let (_, fields) = stat.rsplit_once(')')?;
    let field = |number: usize| fields.split_whitespace().nth(number - 3)?.parse::<f64>().ok();
    Some(((field(14)? + field(15)?) / TICKS_PER_SECOND, field(22)? / TICKS_PER_SECOND))
}

fn boot_time(stat: &str) -> Option<f64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
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
        let value = |name: &str| -> f64 {
            let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
            line.rsplit(' ').next().unwrap().parse().unwrap()
        };
        assert!(value("process_virtual_memory_bytes") >= bytes);
        assert!(value("process_max_fds") >= value("process_open_fds") && value("process_open_fds") > 2.0);
        assert!(value("process_start_time_seconds") > 1.7e9, "{text}");
        assert!(value("process_cpu_seconds_total") >= 0.0);
    }

    #[test]
    fn times_are_read_past_any_name() {
        let stat = "7 (a) b ((c) S 1 7 7 0 -1 4194560 9 0 0 0 250 50 0 0 20 0 9 0 1234 5 6";
        assert_eq!(times(stat), Some((3.0, 12.34)));
        assert_eq!(times("7"), None);
    }

    #[test]
    fn a_name_is_registered_once() {
        let registry = Registry::new();
        process_metrics(&registry).unwrap();
        assert!(process_metrics(&registry).is_err());
    }
}
