//! The counts of one open store. They begin at zero when it is opened.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::{Histogram, Traffic};
use crate::api::{EventKind, Figures};
use crate::mvcc::{Command, Effects, LeaseEffect};

/// Shared by the parts that count.
#[derive(Debug)]
pub(crate) struct Meters {
    /// From 1 ms to 8.192 s, as etcd's; likewise the next.
    pub(crate) log_syncs: Histogram<15>,
    pub(crate) table_writes: Histogram<15>,
    log_bytes: AtomicU64,
    puts: AtomicU64,
    deletes: AtomicU64,
    txns: AtomicU64,
    put_bytes: AtomicU64,
    ranges: AtomicU64,
    proposals: AtomicU64,
    leases_granted: AtomicU64,
    leases_revoked: AtomicU64,
    leases_renewed: AtomicU64,
    leases_expired: AtomicU64,
    leader_changes: AtomicU64,
    proposals_failed: AtomicU64,
    reads_failed: AtomicU64,
    peers: Mutex<BTreeMap<u64, Arc<Traffic>>>,
}

impl Default for Meters {
    fn default() -> Self {
        let count = || AtomicU64::new(0);
        Self {
            log_syncs: Histogram::new(Duration::from_millis(1)),
            table_writes: Histogram::new(Duration::from_millis(1)),
            log_bytes: count(),
            puts: count(),
            deletes: count(),
            txns: count(),
            put_bytes: count(),
            ranges: count(),
            proposals: count(),
            leases_granted: count(),
            leases_revoked: count(),
            leases_renewed: count(),
            leases_expired: count(),
            leader_changes: count(),
            proposals_failed: count(),
            reads_failed: count(),
            peers: Mutex::default(),
        }
    }
}

/// What a group of commands wrote, added up before it is counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Written {
    puts: u64,
    deletes: u64,
    txns: u64,
    put_bytes: u64,
    granted: u64,
    revoked: u64,
}

impl Written {
    pub(crate) fn add(&mut self, command: &Command, effects: &Effects) {
        for change in &effects.changes {
            match change.kind {
                EventKind::Put => {
                    self.puts += 1;
                    self.put_bytes += (change.kv.key.len() + change.kv.value.len()) as u64;
                }
                EventKind::Delete => self.deletes += 1,
            }
        }
        self.txns += u64::from(matches!(command.itself(), Command::Txn(_)));
        match effects.lease {
            Some(LeaseEffect::Grant { .. }) => self.granted += 1,
            Some(LeaseEffect::Revoke(_)) => self.revoked += 1,
            None => {}
        }
    }
}

fn add(count: &AtomicU64, by: u64) {
    // Most groups are of one kind.
    if by > 0 {
        count.fetch_add(by, Ordering::Relaxed);
    }
}

impl Meters {
    pub(crate) fn written(&self, written: &Written) {
        add(&self.puts, written.puts);
        add(&self.deletes, written.deletes);
        add(&self.txns, written.txns);
        add(&self.put_bytes, written.put_bytes);
        add(&self.leases_granted, written.granted);
        add(&self.leases_revoked, written.revoked);
    }

    /// A group of records was written to the log, and synced in that time if the log is synced.
    pub(crate) fn logged(&self, bytes: usize, sync: Option<Duration>) {
        add(&self.log_bytes, bytes as u64);
        if let Some(took) = sync {
            self.log_syncs.observe(took);
        }
    }

    pub(crate) fn range(&self) {
        add(&self.ranges, 1);
    }

    /// A command was proposed.
    pub(crate) fn called(&self) {
        add(&self.proposals, 1);
    }

    /// How often the store was asked for something, reads and writes alike.
    pub(crate) fn calls(&self) -> u64 {
        self.ranges.load(Ordering::Relaxed) + self.proposals.load(Ordering::Relaxed)
    }

    pub(crate) fn read_failed(&self) {
        add(&self.reads_failed, 1);
    }

    pub(crate) fn proposal_failed(&self) {
        add(&self.proposals_failed, 1);
    }

    pub(crate) fn leader_changed(&self) {
        add(&self.leader_changes, 1);
    }

    pub(crate) fn lease_renewed(&self) {
        add(&self.leases_renewed, 1);
    }

    pub(crate) fn lease_expired(&self) {
        add(&self.leases_expired, 1);
    }

    /// The counts for another member.
    pub(crate) fn peer(&self, id: u64) -> Arc<Traffic> {
        Arc::clone(self.peers.lock().entry(id).or_default())
    }

    /// Forgets members that are none any more.
    pub(crate) fn retain_peers(&self, is_member: impl Fn(u64) -> bool) {
        self.peers.lock().retain(|id, _| is_member(*id));
    }

    pub(crate) fn read(&self, proposals_pending: u64) -> Figures {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Figures {
            log_syncs: self.log_syncs.read(),
            table_writes: self.table_writes.read(),
            log_bytes: read(&self.log_bytes),
            puts: read(&self.puts),
            deletes: read(&self.deletes),
            txns: read(&self.txns),
            put_bytes: read(&self.put_bytes),
            ranges: read(&self.ranges),
            leases_granted: read(&self.leases_granted),
            leases_revoked: read(&self.leases_revoked),
            leases_renewed: read(&self.leases_renewed),
            leases_expired: read(&self.leases_expired),
            leader_changes: read(&self.leader_changes),
            proposals_pending,
            proposals_failed: read(&self.proposals_failed),
            reads_failed: read(&self.reads_failed),
            peers: self.peers.lock().iter().map(|(id, traffic)| traffic.read(*id)).collect(),
        }
    }
}
