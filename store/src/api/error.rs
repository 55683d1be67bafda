//! Everything that can go wrong, by the call that it goes wrong in.
use std::path::PathBuf;
use std::sync::Arc;

use super::{AuthError, LeaseId, Revision};

/// Why a data directory was not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another store, in this process or another, holds the directory.
    #[error("data directory {} is in use by another process (it holds the lock on {})", dir.display(), lock.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// The locked file.
        lock: PathBuf,
    },
    /// The directory's data is of another cluster.
    #[error("data directory {} belongs to cluster {found:016x}, not to {wanted:016x}", dir.display())]
    OtherCluster {
        /// The directory.
        dir: PathBuf,
        /// The cluster asked for.
        wanted: u64,
        /// The cluster it belongs to.
        found: u64,
    },
    /// The directory was written by an incompatible version.
    #[error("data directory {} has format {found}; this version reads formats up to {supported}", dir.display())]
    FormatVersion {
        /// The directory.
        dir: PathBuf,
        /// Its format.
        found: String,
        /// Ours.
        supported: u32,
    },
    /// The directory has files, but no store's.
    #[error("{} is not empty and holds no store", dir.display())]
    NotAStore {
        /// The directory.
        dir: PathBuf,
    },
    /// A file was damaged after it had been written.
    #[error("{} is damaged at offset {offset}: {what}", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where.
        offset: u64,
        /// How.
        what: String,
    },
    /// A value of the configuration makes no sense.
    #[error("store configuration: {0}")]
    Config(String),
    /// The operating system refused.
    #[error("{what}")]
    Io {
        /// What was attempted.
        what: String,
        /// Its answer.
        #[source]
        source: std::io::Error,
    },
    /// The tables could not be opened or read.
    #[error("{what}: {message}")]
    Engine {
        /// What was attempted.
        what: &'static str,
        /// The engine's answer.
        message: String,
    },
    /// A recovery of the directory was begun and has not ended: only the recovery may open it.
    #[error("the recovery of data directory {} was begun and has not ended: run it again", dir.display())]
    Recovering {
        /// The directory.
        dir: PathBuf,
    },
    /// Consensus did not start.
    #[error("starting consensus: {0}")]
    Raft(String),
}

/// Why a store stopped by itself. It then answers every call with this, acknowledges nothing more, and must be opened anew.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store stopped: {0}")]
pub struct Halt(pub Arc<str>);

impl Halt {
    /// Its data may have what the cluster has lost: whoever looks for that must find it, so nothing is deleted.
    pub(crate) const SUPERSEDED: &str = "the cluster was recovered or restored without this member: move its data directory away, and let it join again";

    pub(crate) const REMOVED: &str = "this member was removed from the cluster";

    /// Whether the others removed the member, as somebody asked them to.
    pub fn is_removed(&self) -> bool {
        *self.0 == *Self::REMOVED
    }

    /// Whether the member's cluster goes on without it, as another one: what it has counts for nothing any more.
    pub fn is_superseded(&self) -> bool {
        *self.0 == *Self::SUPERSEDED
    }
}

/// Why a read was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RangeError {
    /// The revision asked for is gone.
    #[error("revision {wanted} has been compacted; the oldest is {floor}")]
    Compacted {
        /// The revision asked for.
        wanted: Revision,
        /// The oldest that can be read.
        floor: Revision,
    },
    /// The revision asked for is not there yet.
    #[error("revision {wanted} is ahead of the store at {current}")]
    FutureRevision {
        /// The revision asked for.
        wanted: Revision,
        /// The store's.
        current: Revision,
    },
    /// The caller may not do this.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// An empty key.
    #[error("the key is empty")]
    EmptyKey,
    /// There is no leader now that could tell what is current. Reads from this member's own state go on.
    #[error("no leader")]
    NoLeader,
    /// The leader did not tell in time what is current.
    #[error("the request took too long")]
    Timeout,
    /// The tables could not be read.
    #[error("reading: {0}")]
    Engine(String),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// The store stopped.
    #[error(transparent)]
    Halted(#[from] Halt),
}

/// Why a write was refused. Except for [`WriteError::Unknown`], [`WriteError::Timeout`] and [`WriteError::LeaderChanged`], nothing of it was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The caller may not do this.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// An empty key.
    #[error("the key is empty")]
    EmptyKey,
    /// A put keeps the value (or the lease) of a key that does not exist.
    #[error("key {key:?} does not exist")]
    KeyNotFound {
        /// The key.
        key: bytes::Bytes,
    },
    /// A put keeps the value and brings one.
    #[error("the put keeps the value, but brings one")]
    ValueProvided,
    /// A put keeps the lease and brings one.
    #[error("the put keeps the lease, but brings one")]
    LeaseProvided,
    /// One key is written twice in a transaction.
    #[error("key {key:?} is written twice in one transaction")]
    DuplicateKey {
        /// The key.
        key: bytes::Bytes,
    },
    /// Too many operations or comparisons in one list.
    #[error("{count} operations in one transaction; at most {max} are allowed")]
    TooManyOps {
        /// How many.
        count: usize,
        /// The bound.
        max: usize,
    },
    /// Transactions nest too deep.
    #[error("transactions nest deeper than {max}")]
    TooDeep {
        /// The bound.
        max: usize,
    },
    /// The request is too large.
    #[error("the request has {bytes} bytes; at most {max} are allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// The lease does not exist (any more).
    #[error("lease {0} does not exist")]
    LeaseNotFound(LeaseId),
    /// A range in the transaction asks for a revision that is gone.
    #[error("revision {wanted} has been compacted; the oldest is {floor}")]
    Compacted {
        /// The revision asked for.
        wanted: Revision,
        /// The oldest that can be read.
        floor: Revision,
    },
    /// A range in the transaction asks for a revision that is not there yet.
    #[error("revision {wanted} is ahead of the store at {current}")]
    FutureRevision {
        /// The revision asked for.
        wanted: Revision,
        /// The store's.
        current: Revision,
    },
    /// The disk is full. Reads go on; writes return by themselves once there is space.
    #[error("no space left for {}: {free_bytes} bytes are free, {reserve_bytes} are kept in reserve", dir.display())]
    NoSpace {
        /// The data directory.
        dir: PathBuf,
        /// What is free.
        free_bytes: u64,
        /// What is kept free.
        reserve_bytes: u64,
    },
    /// A member's data has reached its quota, and the NOSPACE alarm is raised: only reads, deletes and compaction pass until it is disarmed.
    #[error("the database space is exceeded: an alarm is raised")]
    NoSpaceAlarm,
    /// A member's data differs from the others', and the CORRUPT alarm is raised: no write passes until it is disarmed.
    #[error("a member's data is corrupt: an alarm is raised")]
    CorruptAlarm,
    /// A transaction without writes could not be read.
    #[error("reading: {0}")]
    Read(String),
    /// There is no leader now; nothing was written.
    #[error("no leader")]
    NoLeader,
    /// No answer came in time: the write may still happen, or not.
    #[error("the request took too long")]
    Timeout,
    /// The leader changed while the write was under way: it may have happened, or not.
    #[error("the leader changed")]
    LeaderChanged,
    /// The write's fate is unknown: the store stopped or was closed while it was on its way.
    #[error("the outcome of the write is unknown: {0}")]
    Unknown(String),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// The store stopped.
    #[error(transparent)]
    Halted(#[from] Halt),
}

/// Why a compaction was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompactError {
    /// It is done already.
    #[error("revision {wanted} has been compacted already; the floor is {floor}")]
    Compacted {
        /// The revision asked for.
        wanted: Revision,
        /// The floor.
        floor: Revision,
    },
    /// The revision is not there yet.
    #[error("revision {wanted} is ahead of the store at {current}")]
    FutureRevision {
        /// The revision asked for.
        wanted: Revision,
        /// The store's.
        current: Revision,
    },
    /// It could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Why a call on a lease was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// It does not exist (any more).
    #[error("lease {0} does not exist")]
    NotFound(LeaseId),
    /// The identifier asked for is taken.
    #[error("lease {0} exists already")]
    Exists(LeaseId),
    /// The time to live is too long.
    #[error("a time to live of {seconds} s is more than the maximum of {max} s")]
    TtlTooLarge {
        /// What was asked for.
        seconds: u64,
        /// The bound.
        max: u64,
    },
    /// There are too many leases.
    #[error("{max} leases exist already, which is the limit")]
    TooMany {
        /// The bound.
        max: usize,
    },
    /// It could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Why a watch ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// History was compacted past what the watch had still to deliver: read the current state, then watch from there.
    #[error("history up to revision {floor} has been compacted")]
    Compacted {
        /// The oldest revision that can be watched from.
        floor: Revision,
    },
    /// The caller may not do this.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// There are too many watches.
    #[error("{max} watches are open already, which is the limit")]
    TooMany {
        /// The bound.
        max: usize,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// History could not be read.
    #[error("reading history: {0}")]
    Engine(String),
    /// The store stopped.
    #[error(transparent)]
    Halted(#[from] Halt),
}

/// Why a close was not clean. The data is safe all the same: what was acknowledged is in the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("closing the store: {0}")]
pub struct CloseError(pub String);
