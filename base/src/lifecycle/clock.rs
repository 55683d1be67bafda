//! Time as an argument, so that decisions can be tested without waiting.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use time::OffsetDateTime;
use tokio::time::Instant;

/// Where a component gets its time from.
pub trait Clock: Debug + Send + Sync {
    /// Monotonic time; use it for timeouts, leases and durations.
    fn now(&self) -> Instant;

    /// Wall-clock time in UTC; use it for timestamps that people and other machines read.
    fn wall(&self) -> OffsetDateTime;
}

/// The machine's own clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wall(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }
}

/// A clock that stands still until a test moves it.
#[derive(Debug, Clone)]
pub struct ManualClock {
    state: Arc<Mutex<(Instant, OffsetDateTime)>>,
}

impl ManualClock {
    /// A clock that shows `wall` until it is advanced.
    pub fn new(wall: OffsetDateTime) -> Self {
        Self { state: Arc::new(Mutex::new((Instant::now(), wall))) }
    }

    /// Moves both clocks forward.
    pub fn advance(&self, by: Duration) {
        let mut state = self.state.lock();
        state.0 += by;
        state.1 += by;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        self.state.lock().0
    }

    fn wall(&self) -> OffsetDateTime {
        self.state.lock().1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manual_clock_moves_both_times_together() {
        let clock = ManualClock::new(OffsetDateTime::UNIX_EPOCH);
        let before = clock.now();
        clock.advance(Duration::from_secs(90));
        assert_eq!(clock.now() - before, Duration::from_secs(90));
        assert_eq!(clock.wall().unix_timestamp(), 90);
    }
}
