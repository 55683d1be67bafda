//! Leases in a cluster: only the leader has deadlines. Other members pass keep-alives and questions on to it.
use std::time::Duration;

use openraft::ReadPolicy;
use tokio::time::Instant;

use super::member::{Cluster, Member};
use super::reads::Haste;
use super::wire::{Purpose, Reply, Request};
use crate::api::{ClusterError, LeaseId};

/// Without news of a leader, it is looked for again after this.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A lease as its leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeaseLeft {
    pub(crate) granted: Duration,
    pub(crate) remaining: Duration,
}

impl Member {
    /// Starts a lease's time anew, at the leader; none if it does not exist.
    pub(crate) async fn keep_alive(&self, id: LeaseId) -> Result<Option<LeaseLeft>, ClusterError> {
        self.ask_about_lease(id, true).await
    }

    /// What is left of a lease, according to the leader; none if it does not exist.
    pub(crate) async fn lease_left(&self, id: LeaseId) -> Result<Option<LeaseLeft>, ClusterError> {
        self.ask_about_lease(id, false).await
    }

    async fn ask_about_lease(
        &self,
        id: LeaseId,
        keep_alive: bool,
    ) -> Result<Option<LeaseLeft>, ClusterError> {
        let Some(cluster) = &self.cluster else { return Ok(self.lease_here(id, keep_alive)) };
        let deadline = Instant::now() + cluster.request_max;
        let mut leadership = self.leadership.hearer();
        loop {
            let now = *leadership.borrow_and_update();
            let answer = match now.leader {
                Some(_) if now.is_leader => self.lease_as_leader(cluster, id, keep_alive).await,
                Some(leader) => ask(cluster, leader, id, keep_alive).await,
                None => None,
            };
            if let Some(answer) = answer {
                return Ok(answer);
            }
            if Instant::now() >= deadline {
                return Err(ClusterError::NoLeader);
            }
            // Changed, late or gone: each is a reason to look.
            drop(tokio::time::timeout(LOOK_AGAIN, leadership.changed()).await);
        }
    }

    /// Answers if this member certainly leads. One that was deposed without noticing must not prolong a lease that its successor ends.
    pub(super) async fn lease_as_leader(
        &self,
        cluster: &Cluster,
        id: LeaseId,
        keep_alive: bool,
    ) -> Option<Option<LeaseLeft>> {
        let deadline = Instant::now() + cluster.request_max;
        let index = match self.raft.get_read_log_id(ReadPolicy::LeaseRead).await {
            Ok((read_log_id, _)) => read_log_id.index(),
            // No quorum has been heard of lately: ask one.
            Err(_) => self.read_index(cluster, Haste::Now).await?,
        };
        // A lease may have ended under the leader before, in an entry that is not applied here yet.
        self.wait_applied(index, deadline).await.ok()?;
        if let Some(left) = self.lease_here(id, keep_alive) {
            return Some(Some(left));
        }
        // That it does not exist is said only after a quorum was asked.
        let index = self.read_index(cluster, Haste::Now).await?;
        self.wait_applied(index, deadline).await.ok()?;
        Some(self.lease_here(id, keep_alive))
    }

    fn lease_here(&self, id: LeaseId, keep_alive: bool) -> Option<LeaseLeft> {
        let now = Instant::now();
        if keep_alive {
            self.leases.keep_alive(id, now)?;
        }
        let left = self.leases.time_to_live(id, false, now)?;
        Some(LeaseLeft { granted: left.granted, remaining: left.remaining })
    }
}

async fn ask(cluster: &Cluster, leader: u64, id: LeaseId, keep_alive: bool) -> Option<Option<LeaseLeft>> {
    let peer = cluster.peers.get(leader)?;
    let ask = async {
        let session = cluster.peers.session(&peer, Purpose::Calls).await.ok()?;
        let request = if keep_alive { Request::LeaseKeepAlive(id) } else { Request::LeaseTimeToLive(id) };
        session.call(&request).await.ok()
    };
    match tokio::time::timeout(cluster.election_timeout, ask).await {
        Ok(Some(Reply::Lease(left))) => Some(left.map(|(granted, remaining)| LeaseLeft {
            granted: Duration::from_millis(granted),
            remaining: Duration::from_millis(remaining),
        })),
        Ok(_) | Err(_) => None,
    }
}
