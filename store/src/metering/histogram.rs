//! How long things took, in classes that double.
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::api::Durations;

/// Counts durations: class `n` those of at most `first << n`, the last one all that are longer.
#[derive(Debug)]
pub(crate) struct Histogram<const CLASSES: usize> {
    first: Duration,
    counts: [AtomicU64; CLASSES],
    nanos: AtomicU64,
}

impl<const CLASSES: usize> Histogram<CLASSES> {
    pub(crate) const fn new(first: Duration) -> Self {
        Self { first, counts: [const { AtomicU64::new(0) }; CLASSES], nanos: AtomicU64::new(0) }
    }

    pub(crate) fn observe(&self, took: Duration) {
        let times = took.as_nanos().div_ceil(self.first.as_nanos().max(1)).max(1);
        let class = (u128::BITS - (times - 1).leading_zeros()) as usize;
        if let Some(count) = self.counts.get(class.min(CLASSES - 1)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.nanos.fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Durations {
        Durations {
            first: self.first,
            counts: self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
            total: Duration::from_nanos(self.nanos.load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_holds_what_is_at_most_its_bound() {
        let histogram = Histogram::<4>::new(Duration::from_millis(1));
        for micros in [0, 1, 1000, 1001, 2000, 2001, 4000, 4001, 9_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let read = histogram.read();
        assert_eq!(read.counts, [3, 2, 2, 2]);
        assert_eq!(read.total, Duration::from_micros(9_014_004));
        assert_eq!(read.bounds().collect::<Vec<_>>(), [0.001, 0.002, 0.004]);
    }
}
