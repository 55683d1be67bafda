//! The choice between the machine and a simulation of one.
use std::sync::Arc;

use crate::raft::log::{Disk, OsDisk};

/// What a store runs on: the machine, unless a simulation says otherwise. It is a part of [`Config`](crate::Config) that embedders leave alone.
#[derive(Clone, Debug)]
pub struct Platform {
    pub(super) disk: Arc<dyn Disk>,
    /// Loops and blocking calls run on the caller's runtime, in its order, instead of on threads.
    pub(super) inline: bool,
    /// The tables are brought to disk after so much log, if not after the size that the configuration leads to.
    pub(super) checkpoint_bytes: Option<u64>,
}

impl Default for Platform {
    fn default() -> Self {
        Self { disk: Arc::new(OsDisk), inline: false, checkpoint_bytes: None }
    }
}

impl Platform {
    /// Everything runs on the caller's runtime, the log on `disk`, and what the tables had not flushed is lost when they are dropped. They are
    /// flushed after every `checkpoint_bytes` of log, which is purged then: members that lag need a snapshot.
    #[cfg(feature = "sim")]
    pub fn simulated(disk: Arc<dyn Disk>, checkpoint_bytes: u64) -> Self {
        Self { disk, inline: true, checkpoint_bytes: Some(checkpoint_bytes) }
    }

    /// The machine, but for the disk of the log.
    #[cfg(test)]
    pub(crate) fn on(disk: Arc<dyn Disk>) -> Self {
        Self { disk, inline: false, checkpoint_bytes: None }
    }

    pub(crate) fn checkpoint_bytes(&self) -> Option<u64> {
        self.checkpoint_bytes
    }

    pub(crate) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// Whether this is a simulation: dropping the store without closing it is then a crash.
    pub(crate) fn is_simulated(&self) -> bool {
        self.inline
    }
}
