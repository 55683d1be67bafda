//! History that is compacted by itself: by age or by length, as etcd does.
use std::collections::VecDeque;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::Store;
use crate::api::{CompactError, Revision};

/// In the mode by length, so often.
const REVISIONS_INTERVAL: Duration = Duration::from_secs(300);
/// In the mode by age, at most so far apart.
const PERIOD_INTERVAL_MAX: Duration = Duration::from_secs(3600);
/// A period is looked at in so many steps.
const PERIOD_STEPS: u32 = 10;

/// What is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoCompaction {
    /// All that was current within this time.
    Period(Duration),
    /// So many revisions.
    Revisions(i64),
}

/// Compacts until `stop`.
pub async fn auto_compact(store: &Store, keep: AutoCompaction, stop: CancellationToken) {
    let work = async {
        match keep {
            AutoCompaction::Period(period) => by_age(store, period).await,
            AutoCompaction::Revisions(count) => by_length(store, count).await,
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {} // a compaction under way is done or not, as a whole
        () = work => {}
    }
}

async fn by_age(store: &Store, period: Duration) {
    let step = (period / PERIOD_STEPS).min(PERIOD_INTERVAL_MAX / PERIOD_STEPS);
    let steps = (period.as_secs_f64() / step.as_secs_f64()).round() as usize;
    let mut seen: VecDeque<Revision> = VecDeque::new();
    loop {
        seen.push_back(store.revision());
        if seen.len() > steps
            && let Some(old) = seen.pop_front()
        {
            compact(store, old).await;
        }
        tokio::time::sleep(step).await;
    }
}

async fn by_length(store: &Store, count: i64) {
    loop {
        tokio::time::sleep(REVISIONS_INTERVAL).await;
        compact(store, Revision(store.revision().0 - count)).await;
    }
}

async fn compact(store: &Store, revision: Revision) {
    if revision <= Revision::INITIAL {
        return;
    }
    match store.compact(revision).await {
        Ok(()) => tracing::info!(%revision, "history was compacted by itself"),
        // Nothing was written since the last time, or somebody else compacted.
        Err(CompactError::Compacted { .. }) => {}
        Err(error) => tracing::warn!(%revision, %error, "history was not compacted"),
    }
}
