//! Members of a cluster: who they are, how they find each other, what can go wrong between them.
use std::sync::Arc;
use std::time::Duration;

use super::{ForwardedWrites, Halt, Transport};

/// One member, as the cluster's configuration has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Its identifier, never zero.
    pub id: u64,
    /// What its operator calls it; empty until the member has started for the first time.
    pub name: String,
    /// Where the other members reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it; empty until the member has started for the first time.
    pub client_urls: Vec<String>,
    /// Whether it only follows: a learner has no vote and serves no linearizable requests in etcd's protocol.
    pub is_learner: bool,
}

/// One member of a cluster that starts for the first time: an item of etcd's `--initial-cluster`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InitialMember {
    /// Its name, unique in the cluster.
    pub name: String,
    /// Where the other members will reach it.
    pub peer_urls: Vec<String>,
}

/// What a member with an empty directory does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InitialState {
    /// It forms a cluster with the other initial members, which must have the same list and token.
    #[default]
    New,
    /// It joins the cluster of the other initial members, which has added it already.
    Existing,
}

/// This member's place in a cluster. Identifiers are computed from the lists as etcd does it, so all members find the same ones.
///
/// A directory that has data keeps its identity: `initial`, `token` and `state` are then not looked at.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// This member's name: its entry in `initial`.
    pub name: String,
    /// Where clients reach this member; told to all members.
    pub client_urls: Vec<String>,
    /// Every member to begin with, this one included.
    pub initial: Vec<InitialMember>,
    /// Keeps clusters apart that have the same addresses.
    pub token: String,
    /// Whether to form a cluster or to join one.
    pub state: InitialState,
    /// The way to the other members.
    pub transport: Arc<dyn Transport>,
    /// How often a leader tells its followers that it is there.
    pub heartbeat_interval: Duration,
    /// How long followers hear nothing from their leader until they look for another, about; at least five heartbeats.
    pub election_timeout: Duration,
    /// So many entries of the log are kept for members that lag; one that lags more is sent a snapshot.
    pub snapshot_entries: u64,
    /// How many learners there may be at one time.
    pub learners_max: usize,
    /// Whether changes of the members are refused that could cost the cluster its majority, as with etcd's flag of this name.
    pub strict_reconfig_check: bool,
    /// Who is told of the ways of other members' writes through this one's log.
    pub forwarded_writes: Option<ForwardedWrites>,
}

impl ClusterConfig {
    /// A place with etcd's defaults: heartbeats every 100 ms, elections after a second, one learner.
    pub fn new(
        name: impl Into<String>,
        initial: impl IntoIterator<Item = InitialMember>,
        transport: Arc<dyn Transport>,
    ) -> Self {
        Self {
            name: name.into(),
            client_urls: Vec::new(),
            initial: initial.into_iter().collect(),
            token: "etcd-cluster".into(),
            state: InitialState::New,
            transport,
            heartbeat_interval: Duration::from_millis(100),
            election_timeout: Duration::from_millis(1000),
            snapshot_entries: 10_000,
            learners_max: 1,
            strict_reconfig_check: true,
            forwarded_writes: None,
        }
    }
}

/// Who leads, as far as this member knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// The leader; none during elections.
    pub leader: Option<u64>,
    /// The Raft term.
    pub term: u64,
    /// Whether this member is the leader.
    pub is_leader: bool,
    /// Whether this member has no vote.
    pub is_learner: bool,
}

/// Why a call about members was refused. Each variant is one of etcd's errors.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// There is no such member.
    #[error("member {0:016x} does not exist")]
    MemberNotFound(u64),
    /// A member has this identifier already.
    #[error("member {0:016x} exists already")]
    MemberExists(u64),
    /// A member has one of these peer URLs already.
    #[error("a member has peer URL {0} already")]
    PeerUrlExists(String),
    /// A URL cannot be used.
    #[error("peer URL {0:?} cannot be used")]
    BadUrl(String),
    /// There are as many learners as there may be.
    #[error("there are {max} learners already, which is the limit")]
    TooManyLearners {
        /// The bound.
        max: usize,
    },
    /// Only a learner can be promoted.
    #[error("member {0:016x} is not a learner")]
    NotLearner(u64),
    /// The learner has not caught up with the leader yet.
    #[error("learner {0:016x} has not caught up with the leader yet")]
    LearnerNotReady(u64),
    /// After this change too few members would have started for the cluster to go on.
    #[error("too few members have started for this change")]
    NotEnoughStarted,
    /// Too few members are alive for this change to be safe.
    #[error("too few members are reachable for this change")]
    Unhealthy,
    /// Only the leader can do this, and this member is not.
    #[error("this member is not the leader")]
    NotLeader,
    /// There is no leader now.
    #[error("there is no leader")]
    NoLeader,
    /// The leader changed while the call was under way.
    #[error("the leader changed")]
    LeaderChanged,
    /// The call took too long; its outcome is unknown.
    #[error("the request took too long")]
    Timeout,
    /// The leadership was not taken over in time.
    #[error("the transfer of leadership took too long")]
    TransferTimeout,
    /// This member cannot be made the leader.
    #[error("member {0:016x} cannot lead")]
    BadTransferee(u64),
    /// This store was opened without [`ClusterConfig`]: it stays alone.
    #[error("this store was opened as the only member, without a way to others")]
    Alone,
    /// Another change of members is under way.
    #[error("another change of members is under way")]
    Busy,
    /// Consensus refused.
    #[error("consensus: {0}")]
    Raft(String),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// The store stopped.
    #[error(transparent)]
    Halted(#[from] Halt),
}
