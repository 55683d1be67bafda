//! When a stream tells how far it has come although nothing happened.
use std::time::Duration;

use tokio::time::Instant;

/// Ticks for the watches that asked for progress. Each tick is spread a little, so that many streams do not all speak at once.
#[derive(Debug)]
pub(super) struct ProgressTicks {
    interval: Duration,
    next: Instant,
}

impl ProgressTicks {
    /// The interval becomes up to a tenth longer: by `spread` parts of ten thousand, below 1,000.
    pub(super) fn new(interval: Duration, spread: u32, now: Instant) -> Self {
        let interval = interval + interval * spread.min(1000) / 10_000;
        Self { interval, next: now + interval }
    }

    /// Resolves at the next tick.
    pub(super) async fn tick(&mut self) {
        tokio::time::sleep_until(self.next).await;
        self.next = Instant::now() + self.interval;
    }
}
