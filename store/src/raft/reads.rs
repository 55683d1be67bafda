//! Linearizable reads: all that wait at one moment share one question to the leader, "up to where must I have applied?" (ReadIndex, §6.4 of
//! the Raft dissertation). The leader asks a quorum whether it still leads before it answers: at once, or with the heartbeat that is due next. No
//! clock is relied on: what counts is the round of heartbeats, which must have begun after the question.
use std::pin::Pin;
use std::time::Duration;

use openraft::LinearizerOption;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::member::{Cluster, Member};
use super::wire::{Purpose, Reply, Request};
use crate::api::ClusterError;
use crate::platform::{SeededBug, is_seeded};

/// So many reads share one question at most.
const SHARED_MAX: usize = 4096;
/// So many reads wait for the question; callers wait beyond that.
pub(super) const WAITING_MAX: usize = 4096;
/// Without news of a leader, it is looked for again after this.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// When the leader asks its quorum for a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Haste {
    /// At once.
    Now,
    /// With its next heartbeat, which is due anyway: at most one interval later.
    Heartbeat,
}

pub(super) type Asker = oneshot::Sender<Result<(), ClusterError>>;

impl Member {
    /// Waits until this member has applied all that was acknowledged anywhere before the call.
    pub(crate) async fn linearize(&self) -> Result<(), ClusterError> {
        if self.cluster.is_none() || is_seeded(SeededBug::ReadWithoutReadIndex) {
            // A member that is alone has applied whatever it acknowledged.
            return Ok(());
        }
        let (ask, answer) = oneshot::channel();
        let closed = || ClusterError::Closed;
        self.reads.send(ask).await.map_err(|_ended| closed())?;
        answer.await.map_err(|_ended| closed())?
    }

    /// As [`Member::linearize`], by a question that costs the leader no heartbeats of its own. Each caller asks by itself: those who are many
    /// share their questions before.
    pub(crate) async fn linearize_by_heartbeat(&self) -> Result<(), ClusterError> {
        let Some(cluster) = self.cluster.as_ref().filter(|_| !is_seeded(SeededBug::ReadWithoutReadIndex))
        else {
            return Ok(());
        };
        tokio::select! {
            biased;
            () = self.stop.token().cancelled() => Err(ClusterError::Closed),
            result = self.read_barrier(cluster, Haste::Heartbeat) => result,
        }
    }

    /// Asks for all who wait, again and again, until the store stops.
    pub(crate) async fn run_reads(self, mut asked: mpsc::Receiver<Asker>) {
        let Some(cluster) = self.cluster.clone() else { return };
        let stop = self.stop.token().clone();
        let work = async {
            let mut askers = Vec::new();
            while asked.recv_many(&mut askers, SHARED_MAX).await > 0 {
                let result = self.read_barrier(&cluster, Haste::Now).await;
                for asker in askers.drain(..) {
                    // Who does not wait any more needs no answer.
                    drop(asker.send(result.clone()));
                }
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => {} // whoever waits sees the channel close
            () = work => {}
        }
    }

    async fn read_barrier(&self, cluster: &Cluster, haste: Haste) -> Result<(), ClusterError> {
        let deadline = Instant::now() + cluster.request_max;
        let mut leadership = self.leadership.hearer();
        loop {
            let now = *leadership.borrow_and_update();
            // In a box of no type of its own: those who wait for reads would be too deep for the compiler. There is one for many reads.
            let asked: Pin<Box<dyn Future<Output = Option<u64>> + Send + '_>> = match now.leader {
                Some(_) if now.is_leader => Box::pin(self.read_index(cluster, haste)),
                Some(leader) => Box::pin(self.ask_for_read_index(cluster, leader, haste)),
                None => Box::pin(std::future::ready(None)),
            };
            let index = tokio::select! {
                biased;
                index = asked => index,
                // Whoever was asked may never answer: it leads no more.
                Ok(()) = leadership.changed() => if Instant::now() < deadline { continue } else { None },
            };
            if let Some(index) = index {
                return self.wait_applied(index, deadline).await;
            }
            if Instant::now() >= deadline {
                return Err(ClusterError::NoLeader);
            }
            // Changed, late or gone: each is a reason to look.
            drop(tokio::time::timeout(LOOK_AGAIN, leadership.changed()).await);
        }
    }

    pub(super) async fn wait_applied(&self, index: u64, deadline: Instant) -> Result<(), ClusterError> {
        let mut applied = self.queue.applied();
        let reached = applied.until(|applied| applied.is_some_and(|(_, applied)| applied >= index));
        match tokio::time::timeout_at(deadline, reached).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_gone)) => Err(ClusterError::Closed),
            Err(_late) => Err(ClusterError::Timeout),
        }
    }

    /// The index that a read must wait for, if this member leads and a quorum says so now.
    pub(super) async fn read_index(&self, cluster: &Cluster, haste: Haste) -> Option<u64> {
        if is_seeded(SeededBug::StaleReadAfterPause) {
            return Some(self.queue.applied_index().unwrap_or(0));
        }
        // An answer to no heartbeat of before the question counts, whoever sends the next.
        let option = LinearizerOption::new(Some(Duration::ZERO), haste == Haste::Now);
        let asked = self.raft.get_read_log_id(option);
        match tokio::time::timeout(cluster.election_timeout, asked).await {
            Ok(Ok((read_log_id, _))) => Some(read_log_id.index()),
            Ok(Err(_)) | Err(_) => None,
        }
    }

    async fn ask_for_read_index(&self, cluster: &Cluster, leader: u64, haste: Haste) -> Option<u64> {
        let peer = cluster.peers.get(leader)?;
        let ask = async {
            let session = cluster.peers.session(&peer, Purpose::Calls).await.ok()?;
            session.call(&Request::ReadIndex(haste)).await.ok()
        };
        match tokio::time::timeout(cluster.election_timeout, ask).await {
            Ok(Some(Reply::ReadIndex(index))) => Some(index),
            Ok(_) | Err(_) => None,
        }
    }
}
