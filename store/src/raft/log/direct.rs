//! The way past the log's loop: a caller that is the only one has its entry written, synced and applied where it is proposed.
//!
//! Two changes of thread cost such a caller more than the disk does, and nobody else is there to be held up. It must never be taken while somebody
//! is: one who waits for an answer, or one whose calls the same runtime serves.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

use super::flusher::{Flusher, Job, Seat};
use crate::metering::Meters;

/// After so many writes in a row, each the only call since the one before, the caller counts as the only one.
const ALONE_AFTER: u32 = 8;
/// A disk that took longer than this is left to the loop for a while.
const SYNC_MAX: Duration = Duration::from_millis(2);
/// So many writes.
const PAUSE: u32 = 32;

/// What writes without the loop.
#[derive(Clone)]
pub(super) struct Direct {
    pub(super) seat: Seat,
    /// Jobs that were sent to the loop and are not settled. While there are any, order demands that others follow them.
    pub(super) pending: Arc<AtomicUsize>,
    /// None if all is left to the loop.
    pub(super) lone: Option<LoneCaller>,
}

impl std::fmt::Debug for Direct {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Direct").field("lone", &self.lone).finish_non_exhaustive()
    }
}

impl Direct {
    /// Takes notice of an append of so many entries and bytes. If it may be written here, what writes it.
    pub(super) fn admits(&mut self, entries: usize, bytes: u64) -> Option<OwnedMutexGuard<Flusher>> {
        let is_alone = self.lone.as_mut()?.is_alone(entries);
        if !is_alone || self.pending.load(Ordering::Acquire) > 0 {
            return None;
        }
        Arc::clone(&self.seat).try_lock_owned().ok().filter(|flusher| flusher.has_room(bytes))
    }

    /// An append took this long.
    pub(super) fn took(&mut self, took: Duration) {
        if let Some(lone) = &mut self.lone
            && took > SYNC_MAX
        {
            lone.pause = PAUSE;
        }
    }
}

/// Writes a job, and says how long that took.
pub(super) async fn write(mut flusher: OwnedMutexGuard<Flusher>, job: Job) -> Duration {
    let began = Instant::now();
    flusher.group(job, None).await;
    began.elapsed()
}

/// Whether one caller at a time writes, and nobody asks for anything else meanwhile.
#[derive(Clone, Debug)]
pub(super) struct LoneCaller {
    meters: Arc<Meters>,
    /// The calls that there had been at the last append.
    calls: u64,
    /// So many appends in a row were the only call since the one before.
    streak: u32,
    /// So many more are left to the loop.
    pause: u32,
}

impl LoneCaller {
    pub(super) fn new(meters: Arc<Meters>) -> Self {
        Self { meters, calls: 0, streak: 0, pause: 0 }
    }

    fn is_alone(&mut self, entries: usize) -> bool {
        let calls = self.meters.calls();
        let since = calls.wrapping_sub(self.calls);
        self.calls = calls;
        self.streak = if entries == 1 && since <= 1 { self.streak.saturating_add(1) } else { 0 };
        self.pause = self.pause.saturating_sub(1);
        self.pause == 0 && self.streak > ALONE_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_is_alone_after_a_while_and_no_more_once_another_calls() {
        let meters = Arc::new(Meters::default());
        let mut lone = LoneCaller::new(Arc::clone(&meters));
        let mut write = || {
            meters.called();
            lone.is_alone(1)
        };
        for _ in 0..ALONE_AFTER {
            assert!(!write());
        }
        assert!(write());
        meters.range();
        assert!(!write(), "somebody read");
        assert!(!write());
    }

    #[test]
    fn appends_of_several_are_not_of_one_caller() {
        let mut lone = LoneCaller::new(Arc::default());
        assert!((0..100).all(|_| !lone.is_alone(2)));
    }

    #[test]
    fn a_slow_disk_is_left_to_the_loop_for_a_while() {
        let mut lone = LoneCaller::new(Arc::default());
        assert!((0..100).any(|_| lone.is_alone(1)));
        lone.pause = PAUSE;
        assert!((0..PAUSE - 1).all(|_| !lone.is_alone(1)));
        assert!(lone.is_alone(1));
    }
}
