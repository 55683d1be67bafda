//! What a store has done since it was opened, in numbers.
use std::time::Duration;

/// How often something took how long, in classes that double.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    /// The bound of the first class; each next one has twice that of the one before.
    pub first: Duration,
    /// How often it took at most the bound of the class, and longer than that of the one before; the last class has no bound.
    pub counts: Vec<u64>,
    /// All of it, added up.
    pub total: Duration,
}

impl Durations {
    /// The bounds in seconds of all classes but the last, which has none.
    pub fn bounds(&self) -> impl Iterator<Item = f64> + '_ {
        let first = self.first.as_secs_f64();
        (0..self.counts.len().saturating_sub(1)).map(move |class| first * 2_f64.powi(class as i32))
    }

    /// How often it happened.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// What [`Store::figures`](crate::Store::figures) tells: counts of this process since the store was opened. Taken one after the other, so
/// that they need not agree with each other to the last write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Figures {
    /// Syncs of the Raft log. A group of proposals shares one.
    pub log_syncs: Durations,
    /// Writes of what a group of entries changed to the tables. These are not synced.
    pub table_writes: Durations,
    /// Bytes written to the Raft log.
    pub log_bytes: u64,
    /// Keys set, by puts and by transactions, on this member: each member applies every write.
    pub puts: u64,
    /// Keys deleted, by requests, transactions and the end of leases.
    pub deletes: u64,
    /// Transactions that may write.
    pub txns: u64,
    /// Bytes of the keys and values that were set.
    pub put_bytes: u64,
    /// Reads asked of this member; those inside transactions that write are not counted.
    pub ranges: u64,
    /// Leases granted.
    pub leases_granted: u64,
    /// Leases ended, by request or by time.
    pub leases_revoked: u64,
    /// Leases whose time was started anew through this member.
    pub leases_renewed: u64,
    /// Leases that this member, as the leader, ended because their time was over.
    pub leases_expired: u64,
    /// How often a leader was found, the first one included.
    pub leader_changes: u64,
    /// Writes that wait for their answer now.
    pub proposals_pending: u64,
    /// Writes that consensus did not answer in time, or not at all.
    pub proposals_failed: u64,
    /// Linearizable reads that no leader confirmed.
    pub reads_failed: u64,
    /// The other members that there was traffic with, by identifier.
    pub peers: Vec<PeerFigures>,
}

/// Traffic with one other member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerFigures {
    /// Which member.
    pub id: u64,
    /// Whether a link to it is open.
    pub connected: bool,
    /// How often an open link to it ended.
    pub disconnected: u64,
    /// Bytes of the frames sent to it.
    pub sent_bytes: u64,
    /// Bytes of the frames received from it.
    pub received_bytes: u64,
    /// Links that could not be opened or broke while something was sent.
    pub send_failures: u64,
    /// Links that broke while something was received.
    pub receive_failures: u64,
    /// How long it took to answer that it is there.
    pub round_trips: Durations,
}
