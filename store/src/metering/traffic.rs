//! What passes between this member and one other.
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::Histogram;
use crate::api::PeerFigures;

/// Counts for one other member.
#[derive(Debug)]
pub(crate) struct Traffic {
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
    send_failures: AtomicU64,
    receive_failures: AtomicU64,
    /// Links that ended.
    disconnected: AtomicU64,
    connected: AtomicBool,
    /// From 0.1 ms to 3.2768 s, as etcd's.
    round_trips: Histogram<17>,
}

impl Default for Traffic {
    fn default() -> Self {
        let count = || AtomicU64::new(0);
        Self {
            sent_bytes: count(),
            received_bytes: count(),
            send_failures: count(),
            receive_failures: count(),
            disconnected: count(),
            connected: AtomicBool::new(false),
            round_trips: Histogram::new(Duration::from_micros(100)),
        }
    }
}

impl Traffic {
    pub(crate) fn sent(&self, bytes: usize) {
        self.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn received(&self, bytes: usize) {
        self.received_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn send_failed(&self) {
        self.send_failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn receive_failed(&self) {
        self.receive_failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn round_trip(&self, took: Duration) {
        self.round_trips.observe(took);
    }

    /// Whether a link to it is open.
    pub(crate) fn set_connected(&self, connected: bool) {
        if self.connected.swap(connected, Ordering::Relaxed) && !connected {
            self.disconnected.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    pub(super) fn read(&self, id: u64) -> PeerFigures {
        PeerFigures {
            id,
            connected: self.is_connected(),
            disconnected: self.disconnected.load(Ordering::Relaxed),
            sent_bytes: self.sent_bytes.load(Ordering::Relaxed),
            received_bytes: self.received_bytes.load(Ordering::Relaxed),
            send_failures: self.send_failures.load(Ordering::Relaxed),
            receive_failures: self.receive_failures.load(Ordering::Relaxed),
            round_trips: self.round_trips.read(),
        }
    }
}
