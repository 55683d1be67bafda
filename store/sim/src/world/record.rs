//! What a run leaves behind for the checkers.
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use mainstay_store::{Revision, WatchBatch};
use parking_lot::Mutex;

use super::net::HostId;
use super::operator::Order;
use crate::check::{Call, LeaseRecord, Session};

/// Everything that clients saw.
#[derive(Debug, Default)]
pub struct Notes {
    /// Calls, in the order in which they ended.
    pub calls: Vec<Call>,
    /// Watches that have ended.
    pub sessions: Vec<Session>,
    /// What the watch of everything delivered, through all its sessions.
    pub history: Vec<WatchBatch>,
    /// Leases with what their owners did.
    pub leases: Vec<LeaseRecord>,
    /// The highest revision that anyone asked to compact.
    pub compacted: Revision,
    /// Everything up to here is in `history`.
    pub archived: Revision,
    /// Tells the clients to make no new calls.
    pub stop: Arc<AtomicBool>,
    /// What the operator wants done with machines, in order.
    pub orders: Vec<Order>,
    /// The machines that run a member in the end, once the operator is done.
    pub settled: Option<BTreeSet<HostId>>,
    /// What happened, for the trace of a run.
    pub log: Vec<(Duration, String)>,
}

/// Shared notes.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    notes: Arc<Mutex<Notes>>,
}

impl Recorder {
    /// Writes something down.
    pub fn note<T>(&self, write: impl FnOnce(&mut Notes) -> T) -> T {
        write(&mut self.notes.lock())
    }

    /// Adds a line to the trace.
    pub fn log(&self, at: Duration, what: impl Into<String>) {
        self.notes.lock().log.push((at, what.into()));
    }
}
