//! The calls about members and leadership.
use std::time::Duration;

use tokio::sync::watch;

use crate::api::{ClusterError, Leadership, Member, Revision};
use crate::raft::Change;
use crate::store::Store;

impl Store {
    /// The members, by identifier. `linearizable` asks the leader first, so that the list has every change made before the call; else it is
    /// what this member knows.
    ///
    /// # Errors
    /// [`ClusterError::NoLeader`] and [`ClusterError::Timeout`], if the leader had to be asked.
    pub async fn members(&self, linearizable: bool) -> Result<Vec<Member>, ClusterError> {
        let core = self.core();
        core.check_open()?;
        if linearizable {
            core.linearize().await?;
            // Whoever asks this way may throw away the data of a member that is gone: one whose removal could be undone is not gone.
            return Ok(core.member.applied_members());
        }
        Ok(core.member.members())
    }

    /// The members as this one knows them, also after it has stopped by itself.
    pub fn known_members(&self) -> Vec<Member> {
        self.core().member.members()
    }

    /// Adds a member, which may then be started with [`InitialState::Existing`](crate::InitialState::Existing). It has no name until it has
    /// started. One with a vote counts for the quorum only once it has caught up.
    pub async fn member_add(&self, peer_urls: Vec<String>, learner: bool) -> Result<Member, ClusterError> {
        let id = self.core().change_members(Change::Add { peer_urls, learner }).await?;
        let members = self.core().member.members();
        members.into_iter().find(|member| member.id == id).ok_or(ClusterError::MemberNotFound(id))
    }

    /// Removes a member; it stops by itself.
    pub async fn member_remove(&self, id: u64) -> Result<(), ClusterError> {
        self.core().change_members(Change::Remove(id)).await.map(|_id| ())
    }

    /// Changes where the other members reach a member.
    pub async fn member_update(&self, id: u64, peer_urls: Vec<String>) -> Result<(), ClusterError> {
        self.core().change_members(Change::Update { id, peer_urls }).await.map(|_id| ())
    }

    /// Gives a learner a vote.
    ///
    /// # Errors
    /// [`ClusterError::LearnerNotReady`] until it has caught up with the leader.
    pub async fn member_promote(&self, id: u64) -> Result<(), ClusterError> {
        self.core().change_members(Change::Promote(id)).await.map(|_id| ())
    }

    /// Hands the leadership to another member. Writes under way are not lost; new ones wait for the new leader.
    ///
    /// # Errors
    /// [`ClusterError::NotLeader`] on every member but the leader.
    pub async fn move_leader(&self, id: u64) -> Result<(), ClusterError> {
        self.core().check_open()?;
        self.core().member.move_leader(id).await
    }

    /// The leader, as far as this member knows.
    pub fn leader(&self) -> Option<u64> {
        self.leadership().borrow().leader
    }

    /// Who leads, now and from now on.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.core().member.leadership()
    }

    /// For how long this member may not have led any more: so long ago a quorum was asked that then said that it does. Nothing while it does not
    /// lead as far as it knows; zero if it has the only vote; [`Duration::MAX`] between its election and the first such answer.
    ///
    /// Another leader is elected no sooner than the cluster's election timeout after that moment, unless this member hands its office over, which
    /// [`Store::leadership`] tells of, or nobody listens at its address any more: then at once.
    pub fn leadership_confirmed_ago(&self) -> Option<Duration> {
        self.core().member.leadership_confirmed_ago()
    }

    /// Waits until this member can serve: it knows a leader, and has applied what was committed before the call.
    ///
    /// A store that is alone can serve as soon as it is open.
    pub async fn ready(&self) -> Result<(), ClusterError> {
        loop {
            self.core().check_open()?;
            match self.core().linearize().await {
                Ok(()) => return Ok(()),
                Err(ClusterError::NoLeader | ClusterError::Timeout) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The revision that a read which begins now must have seen: that of every write acknowledged before the call, on any member. When
    /// this returns, this member has applied it.
    ///
    /// # Errors
    /// [`ClusterError::NoLeader`] and [`ClusterError::Timeout`], if there is no quorum to ask.
    pub async fn current_revision(&self) -> Result<Revision, ClusterError> {
        self.core().linearize().await?;
        Ok(self.revision())
    }

    /// As [`Store::current_revision`], for callers who are in no haste, and ask often: the leader asks its quorum with the heartbeat that is due
    /// next, so that the answer comes up to one heartbeat interval later and costs no messages between members but the question's own.
    /// Questions are not put together; callers who are many at one moment share theirs.
    ///
    /// # Errors
    /// As [`Store::current_revision`].
    pub async fn current_revision_by_heartbeat(&self) -> Result<Revision, ClusterError> {
        self.core().linearize_by_heartbeat().await?;
        Ok(self.revision())
    }

    /// This member's identifier.
    pub fn member_id(&self) -> u64 {
        self.core().member_id
    }

    /// The cluster's identifier.
    pub fn cluster_id(&self) -> u64 {
        self.core().cluster_id
    }
}
