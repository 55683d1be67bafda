//! How much the watchers of one task have to be told still, in bytes of events: what the task of a stream is behind by.
#[cfg(feature = "etcd")]
use std::sync::atomic::{AtomicU64, Ordering};

/// What an event takes beside its key and value, about.
const EVENT_BYTES: usize = 64;

/// The bytes that an event counts for, whatever of it a watcher asked for.
pub(super) fn event_bytes(key: &[u8], value: &[u8]) -> u64 {
    (key.len() + value.len() + EVENT_BYTES) as u64
}

/// A count in a cache line of its own, so that who adds to it does not wait for those who write beside it.
#[cfg(feature = "etcd")]
#[derive(Debug, Default)]
#[repr(align(128))]
struct Count(AtomicU64);

/// Two counts that only grow: whoever announces adds to one, the task that reads to the other.
#[cfg(feature = "etcd")]
#[derive(Debug, Default)]
pub(crate) struct Owed {
    announced: Count,
    settled: Count,
}

#[cfg(feature = "etcd")]
impl Owed {
    pub(crate) fn announce(&self, bytes: u64) {
        self.announced.0.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many bytes were read, or nobody wants them any more.
    pub(crate) fn settle(&self, bytes: u64) {
        self.settled.0.fetch_add(bytes, Ordering::Relaxed);
    }

    /// All that was ever announced.
    pub(crate) fn announced(&self) -> u64 {
        self.announced.0.load(Ordering::Relaxed)
    }

    /// What of it is still to be read.
    pub(crate) fn bytes(&self) -> u64 {
        // In this order: the other way round, what is read between the two would be more than there was.
        let settled = self.settled.0.load(Ordering::Relaxed);
        self.announced().saturating_sub(settled)
    }
}
