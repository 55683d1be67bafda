//! The thread that gives back the space of old versions.
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::time::Instant;

use crate::engine::{CompactionStep, Tables};

/// Between steps at least, so that compaction leaves room for everything else; it also rests as long as it has worked.
const PAUSE: Duration = Duration::from_millis(1);
/// How nice the thread is: whoever waits for an answer comes first.
const NICENESS: i32 = 10;
/// On a full disk.
const NO_SPACE_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct Wanted {
    work: bool,
    end: bool,
}

/// A handle on the thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Compactor {
    shared: Arc<(Mutex<Wanted>, Condvar)>,
}

impl Compactor {
    pub(crate) fn spawn(&self, tables: Arc<Tables>) -> std::io::Result<JoinHandle<()>> {
        let compactor = self.clone();
        std::thread::Builder::new().name("store-compact".into()).spawn(move || compactor.run(&tables))
    }

    /// Tells that the floor may have been raised.
    pub(crate) fn wake(&self) {
        self.shared.0.lock().work = true;
        self.shared.1.notify_one();
    }

    /// Ends the thread after the step under way; the rest is done after the next start.
    pub(crate) fn close(&self) {
        self.shared.0.lock().end = true;
        self.shared.1.notify_one();
    }

    fn run(&self, tables: &Tables) {
        if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS) {
            tracing::debug!(%error, "compaction runs at normal priority");
        }
        loop {
            {
                let mut wanted = self.shared.0.lock();
                while !wanted.work && !wanted.end {
                    self.shared.1.wait(&mut wanted);
                }
                if wanted.end {
                    return;
                }
                wanted.work = false;
            }
            if !self.compact(tables) {
                return;
            }
        }
    }

    /// Works until there is nothing left; false if the thread has to end.
    fn compact(&self, tables: &Tables) -> bool {
        loop {
            let began = Instant::now();
            let step = tables.compact_step().and_then(|step| {
                if step == CompactionStep::Done {
                    tables.reclaim(&|| self.shared.0.lock().end).map(|()| step)
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
            let mut wanted = self.shared.0.lock();
            if !wanted.end {
                self.shared.1.wait_for(&mut wanted, pause);
            }
            if wanted.end {
                return false;
            }
        }
    }
}
