//! The store in figures.
use super::{Alarm, Revision};

/// What [`Store::status`](crate::Store::status) tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The current revision.
    pub revision: Revision,
    /// The compaction floor: reads below it fail. Zero if nothing was ever compacted.
    pub compacted: Revision,
    /// The size of the tables: files, and what is not in a file yet. The quota bounds this.
    pub db_size_bytes: u64,
    /// An estimate of what of it is in use: the rest comes back in the background, without defragmentation.
    pub db_size_in_use_bytes: u64,
    /// The bound on `db_size_bytes`; none if there is no quota.
    pub quota_bytes: Option<u64>,
    /// The size of the preallocated Raft log, which comes on top.
    pub log_size_bytes: u64,
    /// The index of the last applied Raft entry.
    pub applied_index: u64,
    /// The Raft term.
    pub term: u64,
    /// The index of the last entry in this member's log.
    pub raft_index: u64,
    /// The leader, as far as this member knows.
    pub leader: Option<u64>,
    /// Whether this member has no vote.
    pub is_learner: bool,
    /// The watches that are open.
    pub watchers: usize,
    /// The leases that are alive.
    pub leases: usize,
    /// The cluster that this data belongs to.
    pub cluster_id: u64,
    /// This member.
    pub member_id: u64,
    /// Whether the disk is full: writes are refused until there is space again.
    pub no_space: bool,
    /// The alarms that are raised, of all members, in order.
    pub alarms: Vec<Alarm>,
}
