//! The types that openraft is used with.
use std::fmt;
use std::sync::Arc;

use openraft::impls::{BasicNode, leader_id_std};
use openraft::vote::RaftLeaderId as _;

use crate::mvcc::{Applied, Command};

/// What is proposed: a command that entries share cheaply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proposal(pub(crate) Arc<Command>);

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

openraft::declare_raft_types!(
    /// Consensus of this store: at most one leader in a term.
    pub(crate) TypeConfig:
        D = Proposal,
        R = Applied,
        NodeId = u64,
        Node = BasicNode,
        Term = u64,
        LeaderId = leader_id_std::LeaderId<u64, u64>,
);

pub(crate) type CommittedLeader =
    <leader_id_std::LeaderId<u64, u64> as openraft::vote::RaftLeaderId>::Committed;
pub(crate) type LogId = openraft::LogId<CommittedLeader>;
pub(crate) type Entry = openraft::Entry<CommittedLeader, openraft::EntryPayload<Proposal, u64, BasicNode>>;
pub(crate) type Vote = openraft::Vote<leader_id_std::LeaderId<u64, u64>>;
pub(crate) type Membership = openraft::Membership<u64, BasicNode>;
pub(crate) type StoredMembership = openraft::StoredMembership<CommittedLeader, u64, BasicNode>;
pub(crate) type SnapshotOf<D> = openraft::Snapshot<CommittedLeader, u64, BasicNode, D>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<CommittedLeader, u64, BasicNode>;

pub(crate) fn log_id(term: u64, index: u64) -> LogId {
    // The voted-for node is no part of a committed leader's identity here.
    LogId { leader_id: leader_id_std::LeaderId::new(term, 0).to_committed(), index }
}

pub(crate) fn term(id: &LogId) -> u64 {
    id.leader_id.term
}
