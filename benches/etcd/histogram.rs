//! Latencies in constant memory: buckets that are 3 % wide.
use std::time::Duration;

const BUCKETS: usize = 1024;
/// 32 buckets for each doubling, from a microsecond on.
const PER_DOUBLING: f64 = 32.0;

/// Counts of latencies.
#[derive(Clone)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0 }
    }
}

impl Histogram {
    /// Counts one.
    pub(crate) fn add(&mut self, latency: Duration) {
        let micros = (latency.as_nanos() as f64 / 1000.0).max(1.0);
        let bucket = ((micros.log2() * PER_DOUBLING) as usize).min(BUCKETS - 1);
        self.counts[bucket] += 1;
        self.total += 1;
    }

    /// Counts all of another.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (to, from) in self.counts.iter_mut().zip(&other.counts) {
            *to += from;
        }
        self.total += other.total;
    }

    /// How many were counted.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The latency that a part of all do not exceed.
    pub(crate) fn percentile(&self, part: f64) -> Duration {
        let rank = (self.total as f64 * part) as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen > rank {
                return Duration::from_secs_f64(((bucket as f64 + 1.0) / PER_DOUBLING).exp2() / 1e6);
            }
        }
        Duration::ZERO
    }
}
