//! What a member does by itself: it follows who leads, takes over from a leader whose process has ended, tells the others its name, gives
//! new members their votes, and stops once it was removed.
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use openraft::raft::TransferLeaderRequest;
use openraft::type_config::async_runtime::watch::WatchReceiver as _;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::changes::Change;
use super::leadership;
use super::member::{Cluster, Member};
use super::peers::PeerEvent;
use crate::api::{ClusterError, Halt};

/// How long the members wait for each other when a leader's process has ended: the first in line tries at once, the next after this. Longer
/// than a vote takes on a busy disk, so that they do not outbid each other.
const NEXT_IN_LINE: Duration = Duration::from_millis(100);
/// So often members try to replace a leader before they leave it to the election timeout.
const ATTEMPTS_MAX: u32 = 5;
/// A member that was removed while it led leads on for a moment, so that the others hear of it.
const REMOVED_GRACE: Duration = Duration::from_millis(500);
/// Another process with our identity must have ended by then.
const DUPLICATE_MAX: Duration = Duration::from_secs(3);
/// Between looks at members that wait for their vote.
const VOTES_AGAIN: Duration = Duration::from_millis(50);
const PUBLISH_AGAIN: Duration = Duration::from_millis(200);

impl Member {
    /// Tells of changes of leadership and members until consensus ends.
    pub(crate) async fn follow(self) {
        let mut metrics = self.raft.server_metrics();
        // The newest membership that has this member in it.
        let mut seen = None;
        loop {
            let (now, membership, committed) = {
                let metrics = metrics.borrow_and_update();
                let committed = Arc::clone(&metrics.committed_membership_config);
                (leadership::of(&metrics), Arc::clone(&metrics.membership_config), committed)
            };
            self.leases.lead(now.is_leader);
            if let Some(leader) = now.leader
                && now.leader != self.leadership.borrow().leader
            {
                tracing::info!(leader = format!("{leader:016x}"), term = now.term, "the store has a leader");
                self.meters.leader_changed();
            }
            self.leadership.tell_if_new(now);
            if let Some(cluster) = &self.cluster {
                let settled = committed.log_id().as_ref().map(|id| id.index);
                cluster.peers.update(membership.membership(), settled);
                if membership.membership().get_node(&self.id).is_some() {
                    seen = membership.log_id().as_ref().map(|id| id.index).max(seen);
                }
                let removed = committed.membership().get_node(&self.id).is_none();
                if removed && seen.is_some() && settled > seen {
                    tokio::time::sleep(REMOVED_GRACE).await;
                    self.stop.halt(Halt::REMOVED);
                    return;
                }
            }
            let stop = self.stop.token();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                changed = metrics.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Acts on news of other members until the store stops.
    pub(crate) async fn watch_peers(self, mut events: mpsc::Receiver<PeerEvent>) {
        let stop = self.stop.token().clone();
        let work = async {
            let mut duplicate_since = None;
            while let Some(event) = events.recv().await {
                match event {
                    PeerEvent::Gone(peer) => self.replace_leader(peer).await,
                    PeerEvent::Reached(_) => {
                        duplicate_since = None;
                        self.form().await;
                    }
                    PeerEvent::NotAMember(index) => self.check_removed(index),
                    PeerEvent::Superseded => self.stop.halt(Halt::SUPERSEDED),
                    PeerEvent::Duplicate => {
                        let since: &mut Instant = duplicate_since.get_or_insert_with(Instant::now);
                        if since.elapsed() > DUPLICATE_MAX {
                            self.stop.halt("another process runs with this member's identity: was the data directory copied?");
                        }
                    }
                }
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = work => {}
        }
    }

    /// A cluster without a leader so far need not wait for timers: once another member is reached, the first in line asks for votes.
    async fn form(&self) {
        let first = {
            let metrics = self.raft.server_metrics();
            let metrics = metrics.borrow_watched();
            let first = metrics.membership_config.membership().voter_ids().min();
            metrics.current_leader.is_none() && first == Some(self.id)
        };
        if first && let Err(error) = self.raft.trigger().elect(true).await {
            tracing::debug!(%error, "consensus has ended");
        }
    }

    /// Another member says that we are none, as of a log entry: true if we know of no later one.
    fn check_removed(&self, index: u64) {
        let known = {
            let metrics = self.raft.server_metrics();
            let metrics = metrics.borrow_watched();
            let own = metrics.membership_config.membership().get_node(&self.id).is_some();
            metrics.membership_config.log_id().as_ref().map(|id| id.index).filter(|_| own)
        };
        if known.is_some_and(|known| index > known) {
            self.stop.halt(Halt::REMOVED);
        }
    }

    /// Nobody listens where the leader did: it has ended, and waiting for it is in vain. Each voter that sees this stops protecting it, and
    /// they try to take over one after the other. A majority must see it: the vote is asked for beforehand, as always.
    async fn replace_leader(&self, gone: u64) {
        for attempt in 0..ATTEMPTS_MAX {
            let (vote, line) = {
                let metrics = self.raft.server_metrics();
                let metrics = metrics.borrow_watched();
                if metrics.current_leader != Some(gone) {
                    return;
                }
                let voters: BTreeSet<u64> = metrics.membership_config.membership().voter_ids().collect();
                (metrics.vote, voters.into_iter().filter(|voter| *voter != gone).collect::<Vec<u64>>())
            };
            let Some(place) = line.iter().position(|voter| *voter == self.id) else { return };
            // Addressed to nobody, this only ends the protection of the leader that holds this vote.
            let ended = self.raft.handle_transfer_leader(TransferLeaderRequest::new(vote, 0, None)).await;
            if ended.is_err() {
                return;
            }
            let places = if attempt == 0 { place } else { line.len() + place };
            tokio::time::sleep(NEXT_IN_LINE * places as u32).await;
            if self.raft.server_metrics().borrow_watched().current_leader != Some(gone) {
                return;
            }
            tracing::info!(leader = gone, attempt, "the leader's process has ended, trying to take over");
            if self.raft.trigger().elect(true).await.is_err() {
                return;
            }
        }
    }

    /// Tells the others this member's name and where its clients reach it, whenever they do not know: a change that the leader makes
    /// of it at the same time, such as its vote, may have been decided before and take the name away again.
    pub(crate) async fn publish(self, cluster: Arc<Cluster>) {
        let stop = self.stop.token().clone();
        let work = async {
            let mut metrics = self.raft.server_metrics();
            loop {
                let is_told = {
                    let metrics = metrics.borrow_and_update();
                    let node = metrics.membership_config.membership().get_node(&self.id);
                    node.is_some_and(|node| {
                        node.name == cluster.name && node.client_urls == cluster.client_urls
                    })
                };
                if is_told {
                    match metrics.changed().await {
                        Ok(()) => continue,
                        Err(_ended) => return,
                    }
                }
                let change = Change::Publish {
                    id: self.id,
                    name: cluster.name.clone(),
                    client_urls: cluster.client_urls.clone(),
                };
                match self.change(change).await {
                    Ok(_) => {} // it is seen here soon, or was taken away again
                    Err(ClusterError::Closed | ClusterError::Halted(_)) => return,
                    Err(error) => tracing::debug!(%error, "the member's name was not told yet"),
                }
                tokio::time::sleep(PUBLISH_AGAIN).await;
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = work => {}
        }
    }

    /// Gives members their votes while this one leads.
    pub(crate) async fn give_votes(self) {
        let stop = self.stop.token().clone();
        let work = async {
            let mut metrics = self.raft.server_metrics();
            loop {
                let waiting = {
                    let metrics = metrics.borrow_and_update();
                    let membership = metrics.membership_config.membership();
                    let is_half_done = membership.get_joint_config().len() > 1;
                    let is_vote_due = membership.nodes().any(|(_, node)| node.vote_due);
                    metrics.state.is_leader() && (is_vote_due || is_half_done)
                };
                if waiting {
                    self.settle_votes().await;
                    drop(tokio::time::timeout(VOTES_AGAIN, metrics.changed()).await);
                } else if metrics.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = work => {}
        }
    }
}
