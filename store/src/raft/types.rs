//! The types that openraft is used with.
use std::fmt;
use std::sync::Arc;

use openraft::impls::leader_id_std;
use openraft::vote::RaftLeaderId as _;

use super::caller::{Caller, WayBack};
use crate::api::WriteTimes;
use crate::mvcc::{Applied, Command};

/// What openraft runs on.
#[cfg(feature = "sim")]
pub(crate) type RaftTokio = crate::platform::SeededTokio;
#[cfg(not(feature = "sim"))]
pub(crate) type RaftTokio = openraft_rt_tokio::TokioRuntime;

/// What is proposed: a command that entries share cheaply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proposal {
    pub(crate) command: Arc<Command>,
    /// The member that waits for the answer, if it is not the one that proposed the command.
    pub(crate) origin: Option<Origin>,
    /// The caller, if it waits in this process.
    pub(crate) back: WayBack,
}

/// Who waits for the answer to a command that was forwarded to the leader: the member answers itself when it applies the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    pub(crate) member: u64,
    /// Never used twice by a member, not even by a later process of it.
    pub(crate) sequence: u64,
}

impl Proposal {
    #[cfg(test)]
    pub(crate) fn new(command: Command) -> Self {
        Self::read(Arc::new(command), None)
    }

    /// Where it is noted when it passes what, if its caller waits here and wants to know.
    pub(crate) fn times(&self) -> Option<&Arc<WriteTimes>> {
        self.back.times()
    }

    /// One that was proposed elsewhere, or in an earlier process: nobody waits for it here but its origin.
    pub(crate) fn read(command: Arc<Command>, origin: Option<Origin>) -> Self {
        Self { command, origin, back: WayBack::default() }
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.command.name())
    }
}

/// What the membership tells of a member besides its identifier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MemberNode {
    pub(crate) name: String,
    pub(crate) peer_urls: Vec<String>,
    pub(crate) client_urls: Vec<String>,
    /// It was added as a voter: the leader gives it its vote once it has caught up, so that a member that never starts costs no quorum.
    pub(crate) vote_due: bool,
}

impl fmt::Display for MemberNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.name, self.peer_urls.join(","))
    }
}

/// Consensus of this store: at most one leader in a term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TypeConfig;

impl openraft::RaftTypeConfig for TypeConfig {
    type D = Proposal;
    type R = Applied;
    type NodeId = u64;
    type Node = MemberNode;
    type Term = u64;
    type LeaderId = leader_id_std::LeaderId<u64, u64>;
    type Vote = Vote;
    type Payload = openraft::EntryPayload<Proposal, u64, MemberNode>;
    type Entry = Entry;
    type AsyncRuntime = RaftTokio;
    type Responder<T>
        = Caller<T>
    where
        T: openraft::OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: openraft::OptionalSend + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

pub(crate) type CommittedLeader =
    <leader_id_std::LeaderId<u64, u64> as openraft::vote::RaftLeaderId>::Committed;
pub(crate) type LogId = openraft::LogId<CommittedLeader>;
pub(crate) type Entry = openraft::Entry<CommittedLeader, openraft::EntryPayload<Proposal, u64, MemberNode>>;
pub(crate) type Vote = openraft::Vote<leader_id_std::LeaderId<u64, u64>>;
pub(crate) type Membership = openraft::Membership<u64, MemberNode>;
pub(crate) type StoredMembership = openraft::StoredMembership<CommittedLeader, u64, MemberNode>;
pub(crate) type SnapshotOf<D> = openraft::Snapshot<CommittedLeader, u64, MemberNode, D>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<CommittedLeader, u64, MemberNode>;

/// Whether the member is the only one of these voters, so that it need not ask others.
pub(crate) fn is_only_voter(member: u64, mut voters: impl Iterator<Item = u64>) -> bool {
    voters.next() == Some(member) && voters.next().is_none()
}

pub(crate) fn log_id(term: u64, index: u64) -> LogId {
    // The voted-for node is no part of a committed leader's identity here.
    LogId { leader_id: leader_id_std::LeaderId::new(term, 0).to_committed(), index }
}

pub(crate) fn term(id: &LogId) -> u64 {
    id.leader_id.term
}
