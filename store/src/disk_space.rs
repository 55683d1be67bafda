//! Refuses writes while the disk is nearly full, so that what was accepted can always be written.
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::api::{Config, WriteError};
use crate::mvcc::Command;
use crate::raft::log::Disk;

/// How old the last look at the disk may be.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Who waits for space on a disk that is full to the last byte. Whoever writes then is refused at once, whatever the reserve.
#[derive(Debug, Default)]
pub(crate) struct Stalled {
    pub(crate) log: AtomicBool,
    pub(crate) tables: AtomicBool,
}

impl Stalled {
    fn is_any(&self) -> bool {
        self.log.load(Ordering::Relaxed) || self.tables.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
pub(crate) struct DiskSpace {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    reserve_bytes: u64,
    stalled: Arc<Stalled>,
    /// When it was looked at, and what was free.
    last: Mutex<Option<(Instant, u64)>>,
    /// Wakes who acts on refusals.
    refusals: Notify,
}

impl DiskSpace {
    pub(crate) fn new(config: &Config, stalled: Arc<Stalled>) -> Self {
        Self {
            disk: Arc::clone(config.platform.disk()),
            dir: config.dir.clone(),
            reserve_bytes: config.disk_reserve_bytes,
            stalled,
            last: Mutex::new(None),
            refusals: Notify::new(),
        }
    }

    /// Whether a write may go on; one that frees space may use most of the reserve. Nothing runs in the background: the first write after space is back finds out.
    pub(crate) fn check(&self, command: &Command) -> Result<(), WriteError> {
        let free_bytes = self.free_bytes();
        let kept = if frees(command) { self.reserve_bytes / 4 } else { self.reserve_bytes };
        if free_bytes < kept || self.stalled.is_any() {
            self.refusals.notify_one();
            return Err(WriteError::NoSpace {
                dir: self.dir.clone(),
                free_bytes,
                reserve_bytes: self.reserve_bytes,
            });
        }
        Ok(())
    }

    pub(crate) fn is_low(&self) -> bool {
        self.lack().is_some()
    }

    /// What is free and what should be, if writes are refused for it.
    pub(crate) fn lack(&self) -> Option<(u64, u64)> {
        let free_bytes = self.free_bytes();
        let is_low = free_bytes < self.reserve_bytes || self.stalled.is_any();
        is_low.then_some((free_bytes, self.reserve_bytes))
    }

    /// Waits until a write is refused, or returns if one was since the last call.
    pub(crate) async fn refused(&self) {
        self.refusals.notified().await;
    }

    fn free_bytes(&self) -> u64 {
        let now = Instant::now();
        let mut last = self.last.lock();
        if let Some((at, free)) = *last
            && now.saturating_duration_since(at) < LOOK_AGAIN
        {
            return free;
        }
        let free = match self.disk.free_bytes(&self.dir) {
            Ok(free) => free,
            Err(error) => {
                // A look that fails is no reason to refuse: the write itself will tell.
                tracing::warn!(%error, "could not see how much space is free");
                u64::MAX
            }
        };
        *last = Some((now, free));
        free
    }
}

fn frees(command: &Command) -> bool {
    matches!(
        command.itself(),
        Command::DeleteRange(_)
            | Command::Compact(_)
            | Command::LeaseRevoke(_)
            | Command::Alarm { raise: false, .. }
    )
}
