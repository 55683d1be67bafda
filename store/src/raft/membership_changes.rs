//! Changes of members and of the leader, carried out: decided by `changes`, written by consensus, on whichever member the caller is.
//!
//! One change at a time is decided and written, and it is written only over the membership that it was decided on: two at once never
//! take each other's place, whatever rule each of them keeps alone.
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::errors::{ChangeMembershipError, ClientWriteError, PreconditionFailed, RaftError};
use openraft::raft::Precondition;
use openraft::type_config::async_runtime::watch::WatchReceiver as _;
use openraft::{ChangeMembers, Instant as _, RaftState};
use tokio::time::Instant;

use super::changes::{self, Change, World};
use super::member::{Cluster, Member};
use super::types::{LogId, MemberNode, StoredMembership, TypeConfig};
use super::wire::{Purpose, Reply, Request};
use crate::api::ClusterError;
use crate::platform::unix_seconds;

/// Another change that is under way is waited for.
const BUSY_AGAIN: Duration = Duration::from_millis(20);
/// Without news of a leader, it is looked for again after this.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

impl Member {
    /// Changes the members; returns the one that it is about, once this member knows of the change.
    pub(crate) async fn change(&self, change: Change) -> Result<u64, ClusterError> {
        let Some(cluster) = &self.cluster else {
            return match change {
                Change::Add { .. } | Change::Promote(_) => Err(ClusterError::Alone),
                change => self.change_here(&change).await,
            };
        };
        let deadline = Instant::now() + cluster.request_max;
        let mut leadership = self.leadership.hearer();
        loop {
            let now = *leadership.borrow_and_update();
            let changed = match now.leader {
                Some(_) if now.is_leader => {
                    tokio::time::timeout_at(deadline, self.change_here(&change)).await
                }
                Some(leader) => tokio::time::timeout_at(deadline, forward(cluster, leader, &change)).await,
                None => Ok(Err(ClusterError::NotLeader)),
            };
            match changed {
                Ok(Ok(id)) => {
                    self.linearize().await?;
                    return Ok(id);
                }
                Ok(Err(ClusterError::NotLeader)) if Instant::now() < deadline => {
                    drop(tokio::time::timeout(LOOK_AGAIN, leadership.changed()).await);
                }
                Ok(Err(ClusterError::NotLeader)) => return Err(ClusterError::NoLeader),
                Ok(Err(error)) => return Err(error),
                Err(_late) => return Err(ClusterError::Timeout),
            }
        }
    }

    /// Changes the members, if this one leads.
    pub(super) async fn change_here(&self, change: &Change) -> Result<u64, ClusterError> {
        let _one = self.changing.lock().await;
        loop {
            let (world, at) = self.world().await?;
            let step = changes::plan(&world, change)?;
            let Some(members) = step.change else { return Ok(step.id) };
            match self.write_membership(at, members).await {
                // One of an earlier leader, or of a caller that is gone.
                Err(ClusterError::Busy) => tokio::time::sleep(BUSY_AGAIN).await,
                result => return result.map(|()| step.id),
            }
        }
    }

    /// Writes a change that was decided on the membership `at` this place of the log; busy where that is not the newest any more.
    async fn write_membership(
        &self,
        at: Option<LogId>,
        members: ChangeMembers<u64, MemberNode>,
    ) -> Result<(), ClusterError> {
        let decided_on = Precondition::LastMembershipLogId { last_membership_log_id: at };
        match self.raft.change_membership_if(members, false, [decided_on]).await {
            Ok(_response) => Ok(()),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) => Err(ClusterError::NotLeader),
            Err(RaftError::APIError(ClientWriteError::LogEntryDiscarded(_))) => {
                Err(ClusterError::LeaderChanged)
            }
            Err(RaftError::APIError(
                ClientWriteError::ChangeMembershipError(
                    ChangeMembershipError::InProgress(_) | ChangeMembershipError::UncommittedLeaderLog(_),
                )
                | ClientWriteError::PreconditionFailed(PreconditionFailed::LastMembershipLogIdMismatch {
                    ..
                }),
            )) => Err(ClusterError::Busy),
            Err(error) => Err(ClusterError::Raft(error.to_string())),
        }
    }

    /// Gives members their vote that it is due to, as they catch up, while this member leads. A change in two parts whose second one
    /// was not written, because its leader ended or its caller was gone, is brought to its end.
    pub(super) async fn settle_votes(&self) {
        loop {
            let _one = self.changing.lock().await;
            let Ok((world, at)) = self.world().await else { return };
            let Some(step) = changes::vote_due(&world).or_else(|| changes::half_done(&world, self.id)) else {
                return;
            };
            let Some(members) = step.change else { return };
            match self.write_membership(at, members).await {
                Ok(()) => tracing::info!(member = step.id, "a change of the members was brought to its end"),
                Err(error) => {
                    tracing::debug!(member = step.id, %error, "a member did not get its vote yet");
                    return;
                }
            }
        }
    }

    /// What is known here, and where in the log the membership is from: the newest, also where it is not committed yet.
    async fn world(&self) -> Result<(World, Option<LogId>), ClusterError> {
        let newest =
            |state: &RaftState<TypeConfig>| StoredMembership::clone(state.membership_state.effective());
        let newest = self.raft.with_raft_state(newest).await;
        let newest = newest.map_err(|error| ClusterError::Raft(error.to_string()))?;
        let metrics = self.raft.metrics().borrow_watched().clone();
        let matched: BTreeMap<u64, u64> = metrics
            .replication
            .unwrap_or_default()
            .into_iter()
            .filter_map(|(id, log_id)| Some((id, log_id?.index)))
            .collect();
        let heard = metrics.heartbeat.unwrap_or_default();
        // A process that has ended is not there from the moment on when its links break; of one that hangs, followers would look for a leader by then.
        let is_there = |id: u64, heard: Duration| {
            let cluster = self.cluster.as_ref();
            cluster.is_some_and(|own| heard < own.election_timeout && own.peers.is_connected(id))
        };
        let mut alive: BTreeSet<u64> = heard
            .into_iter()
            .filter_map(|(id, at)| at.is_some_and(|at| is_there(id, at.elapsed())).then_some(id))
            .collect();
        alive.insert(self.id);
        let world = World {
            membership: newest.membership().clone(),
            matched,
            last_index: metrics.last_log_index.unwrap_or(0),
            alive,
            learners_max: self.cluster.as_ref().map_or(0, |cluster| cluster.learners_max),
            strict: self.cluster.as_ref().is_none_or(|cluster| cluster.strict_reconfig_check),
            unix_seconds: unix_seconds(),
        };
        Ok((world, *newest.log_id()))
    }

    /// Hands the leadership over, from this member.
    pub(crate) async fn move_leader(&self, to: u64) -> Result<(), ClusterError> {
        let (world, _at) = self.world().await?;
        if !world.membership.voter_ids().any(|voter| voter == to) {
            return Err(ClusterError::BadTransferee(to));
        }
        let mut leadership = self.leadership.hearer();
        let now = *leadership.borrow();
        if !now.is_leader {
            return Err(ClusterError::NotLeader);
        }
        if to == self.id {
            return Ok(());
        }
        let Some(cluster) = &self.cluster else { return Err(ClusterError::Alone) };
        self.raft
            .trigger()
            .transfer_leader(to)
            .await
            .map_err(|error| ClusterError::Raft(error.to_string()))?;
        let taken = leadership.until(|now| now.leader == Some(to));
        match tokio::time::timeout(cluster.request_max, taken).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_gone)) => Err(ClusterError::Closed),
            Err(_late) => Err(ClusterError::TransferTimeout),
        }
    }

    /// Who could lead in this member's place, those that lack least first.
    pub(super) async fn successors(&self) -> Vec<u64> {
        let Ok((world, _at)) = self.world().await else { return Vec::new() };
        let is_able = |id: &u64| *id != self.id && world.alive.contains(id);
        let mut able: Vec<u64> = world.membership.voter_ids().filter(is_able).collect();
        able.sort_by_key(|id| std::cmp::Reverse(world.matched.get(id).copied()));
        able
    }

    /// Before this member goes: hands the leadership to the member that lacks least, so that the others need no election.
    pub(crate) async fn hand_over(&self, max: Duration) {
        if self.cluster.is_none() || !self.leadership.borrow().is_leader {
            return;
        }
        let Some(successor) = self.successors().await.first().copied() else { return };
        match tokio::time::timeout(max, self.move_leader(successor)).await {
            Ok(Ok(())) => tracing::info!(successor, "handed the leadership over"),
            Ok(Err(error)) => tracing::warn!(successor, %error, "the leadership was not handed over"),
            Err(_late) => tracing::warn!(successor, "the leadership was not taken over in time"),
        }
    }
}

async fn forward(cluster: &Cluster, leader: u64, change: &Change) -> Result<u64, ClusterError> {
    let peer = cluster.peers.get(leader).ok_or(ClusterError::NotLeader)?;
    let Ok(session) = cluster.peers.session(&peer, Purpose::Calls).await else {
        return Err(ClusterError::NotLeader);
    };
    match session.call(&Request::Change(change.clone())).await {
        Ok(Reply::Changed(result)) => result,
        Ok(Reply::NotLeader) => Err(ClusterError::NotLeader),
        Ok(other) => Err(ClusterError::Raft(format!("the leader answered {other:?}"))),
        Err(_lost) => Err(ClusterError::LeaderChanged),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::api::{ClusterConfig, Config, InitialMember};
    use crate::{MemoryNetwork, Store};

    fn url(name: &str) -> String {
        format!("http://{name}:2380")
    }

    fn learner(name: &str) -> Change {
        Change::Add { peer_urls: vec![url(name)], learner: true }
    }

    #[tokio::test]
    async fn a_change_that_was_decided_on_an_older_membership_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let network = MemoryNetwork::new();
        let own = InitialMember { name: "a".into(), peer_urls: vec![url("a")] };
        let transport = network.transport("a".to_owned(), [url("a")]);
        let cluster = ClusterConfig::new("a", [own], Arc::new(transport));
        let dir = dir.path().to_path_buf();
        let config =
            Config { dir, cluster: Some(cluster), disk_reserve_bytes: 0, sync: false, ..Config::default() };
        let store = Store::open(config).await.unwrap();
        store.ready().await.unwrap();
        let member = &store.core().member;
        let (before, at) = member.world().await.unwrap();
        let late = changes::plan(&before, &learner("c")).unwrap();
        member.change(learner("b")).await.unwrap();
        let refused = member.write_membership(at, late.change.unwrap()).await;
        assert_eq!(refused, Err(ClusterError::Busy));
        assert_eq!(member.change(learner("c")).await, Err(ClusterError::TooManyLearners { max: 1 }));
        assert_eq!(member.members().len(), 2, "itself and the first learner");
        store.close().await.unwrap();
    }
}
