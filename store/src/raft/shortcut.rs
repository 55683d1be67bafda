//! The short way from the log to the tables, for a member that is alone.
//!
//! An entry is committed once a majority of the voters has it on disk. If this member is the only voter, that is as soon as its own log is
//! synced: the log's loop knows it first, and consensus only learns of it two wake-ups later. So the loop hands entries to the apply loop itself,
//! or applies a single one where it stands. Consensus comes with the same entries afterwards, and finds them applied.
//!
//! It must never be taken for an entry that another member could undo: it is open only while every membership in the log, committed or not, has
//! this member as its only voter, and only for entries of the term in which this member leads.
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use openraft::vote::RaftLeaderId as _;

use super::apply_queue::ApplyQueue;
use super::types::{Entry, Membership, Vote, is_only_voter, term};

/// Shared by the log, its loop, and the member.
#[derive(Debug, Default)]
pub(crate) struct Shortcut {
    open: AtomicBool,
    to: OnceLock<(u64, ApplyQueue)>,
}

impl Shortcut {
    /// Opens it for good: this member is the only voter, and has applied its log.
    pub(super) fn open(&self, member: u64, queue: ApplyQueue) {
        if self.to.set((member, queue)).is_ok() {
            self.open.store(true, Ordering::Release);
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Sees a membership before it is appended. Another voter closes the short way, until the store is opened anew.
    pub(super) fn check(&self, membership: &Membership) {
        let alone = self.to.get().is_some_and(|(member, _)| is_only_voter(*member, membership.voter_ids()));
        if !alone {
            self.open.store(false, Ordering::Release);
        }
    }

    /// Has entries applied that were synced just now; `here` means on this thread, if the apply loop is idle. What cannot be taken now comes
    /// through consensus.
    pub(super) async fn take(&self, entries: Vec<Entry>, vote: Option<Vote>, here: bool) {
        let Some((member, queue)) = self.to.get().filter(|_| self.is_open()) else { return };
        let Some(vote) = vote else { return };
        let leader = vote.leader_id();
        let own =
            leader.node_id() == member && entries.iter().all(|entry| term(&entry.log_id) == leader.term);
        if own {
            queue.apply_early(entries, here).await;
        }
    }
}
