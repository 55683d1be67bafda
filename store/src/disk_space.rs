//! Refuses writes while the disk is nearly full, so that what was accepted can always be written.
use std::path::PathBuf;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::api::WriteError;

/// How old the last look at the disk may be.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(crate) struct DiskSpace {
    dir: PathBuf,
    reserve_bytes: u64,
    /// When it was looked at, and what was free.
    last: Mutex<Option<(Instant, u64)>>,
}

impl DiskSpace {
    pub(crate) fn new(dir: PathBuf, reserve_bytes: u64) -> Self {
        Self { dir, reserve_bytes, last: Mutex::new(None) }
    }

    /// Whether a write may go on. Nothing runs in the background: the first write after space is back finds out.
    pub(crate) fn check(&self) -> Result<(), WriteError> {
        let free_bytes = self.free_bytes();
        if free_bytes < self.reserve_bytes {
            return Err(WriteError::NoSpace {
                dir: self.dir.clone(),
                free_bytes,
                reserve_bytes: self.reserve_bytes,
            });
        }
        Ok(())
    }

    pub(crate) fn is_low(&self) -> bool {
        self.free_bytes() < self.reserve_bytes
    }

    fn free_bytes(&self) -> u64 {
        let now = Instant::now();
        let mut last = self.last.lock();
        if let Some((at, free)) = *last
            && now.saturating_duration_since(at) < LOOK_AGAIN
        {
            return free;
        }
        let free = match rustix::fs::statvfs(&self.dir) {
            Ok(stat) => stat.f_bavail.saturating_mul(stat.f_frsize),
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
