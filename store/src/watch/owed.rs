//! How much the watchers of one task have to be told still, in bytes of events: what the task of a stream is behind by.
#[cfg(feature = "etcd")]
use std::sync::atomic::{AtomicU64, Ordering};

/// What an event takes beside its key and value, about.
const EVENT_BYTES: usize = 64;

/// The bytes that an event counts for, whatever of it a watcher asked for.
pub(super) fn event_bytes(key: &[u8], value: &[u8]) -> u64 {
    (key.len() + value.len() + EVENT_BYTES) as u64
}

/// Two counts that only grow: whoever announces adds to one, the task that reads to the other.
#[cfg(feature = "etcd")]
#[derive(Debug, Default)]
pub(crate) struct Owed {
    announced: AtomicU64,
    settled: AtomicU64,
}

#[cfg(feature = "etcd")]
impl Owed {
    pub(crate) fn announce(&self, bytes: u64) {
        self.announced.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many bytes were read, or nobody wants them any more.
    pub(crate) fn settle(&self, bytes: u64) {
        self.settled.fetch_add(bytes, Ordering::Relaxed);
    }

    /// All that was ever announced.
    pub(crate) fn announced(&self) -> u64 {
        self.announced.load(Ordering::Relaxed)
    }

    /// What of it is still to be read.
    pub(crate) fn bytes(&self) -> u64 {
        // In this order: what is announced between the two is missed, and not taken for less than nothing.
        let settled = self.settled.load(Ordering::Relaxed);
        self.announced().saturating_sub(settled)
    }
}
