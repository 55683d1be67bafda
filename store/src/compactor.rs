//! The loop that gives back the space of old versions, and looks which keys there are.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::engine::{CompactionStep, Tables};
use crate::platform::{Loop, Platform};

/// Between steps at least, so that compaction leaves room for everything else; it also rests as long as it has worked.
const PAUSE: Duration = Duration::from_millis(1);
/// How nice the thread is: whoever waits for an answer comes first.
const NICENESS: i32 = 10;
/// On a full disk.
const NO_SPACE_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct Shared {
    /// Wakes the loop: there may be work.
    work: Notify,
    end: AtomicBool,
    /// Ends a pause.
    ending: Notify,
}

/// A handle on the loop.
#[derive(Clone, Debug, Default)]
pub(crate) struct Compactor {
    shared: Arc<Shared>,
}

impl Compactor {
    pub(crate) fn spawn(&self, platform: &Platform, tables: Arc<Tables>) -> std::io::Result<Loop> {
        let (compactor, on) = (self.clone(), platform.clone());
        platform.spawn_loop("store-compact", async move { compactor.run(&on, &tables).await })
    }

    /// Tells that the floor may have been raised, or that it may be wanted to know which keys there are.
    pub(crate) fn wake(&self) {
        self.shared.work.notify_one();
    }

    /// Tells that, whenever it is called.
    pub(crate) fn waker(&self) -> Arc<dyn Fn() + Send + Sync> {
        let compactor = self.clone();
        Arc::new(move || compactor.wake())
    }

    /// Ends the loop after the step under way; the rest is done after the next start.
    pub(crate) fn close(&self) {
        self.shared.end.store(true, Ordering::Release);
        self.shared.work.notify_one();
        self.shared.ending.notify_one();
    }

    fn has_to_end(&self) -> bool {
        self.shared.end.load(Ordering::Acquire)
    }

    async fn run(&self, platform: &Platform, tables: &Tables) {
        platform.yield_to_others(NICENESS);
        loop {
            self.shared.work.notified().await;
            // Before a compaction, which may take long.
            if let Err(error) = tables.renew_known_keys(&|| self.has_to_end()) {
                tracing::warn!(%error, "which keys there are is not known; they are looked for on disk");
            }
            if self.has_to_end() || !self.compact(tables).await {
                return;
            }
        }
    }

    /// Works until there is nothing left; false if the loop has to end.
    async fn compact(&self, tables: &Tables) -> bool {
        loop {
            let began = Instant::now();
            let step = tables.compact_step().and_then(|step| {
                if step == CompactionStep::Done {
                    tables.reclaim(&|| self.has_to_end()).map(|()| step)
                } else {
                    Ok(step)
                }
            });
            let pause = match step {
                Ok(CompactionStep::Done) => return true,
                Ok(CompactionStep::More) => PAUSE.max(began.elapsed()),
                Err(error) if error.no_space => NO_SPACE_PAUSE,
                Err(error) => {
                    tracing::error!(%error, "compaction ended; old versions keep their space until the store is opened again");
                    return false;
                }
            };
            tokio::select! {
                biased;
                () = self.shared.ending.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
            if self.has_to_end() {
                return false;
            }
        }
    }
}
