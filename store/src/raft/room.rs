//! A leader whose disk is full refuses writes that the others have room for: it asks them, and hands the leadership to one that has.
use std::sync::Arc;
use std::time::Duration;

use super::member::{Cluster, Member};
use super::wire::{Purpose, Reply, Request};
use crate::api::WriteError;
use crate::mvcc::Command;

/// So long after one attempt the next is made: where every disk is full, the leadership must not go round.
const AGAIN: Duration = Duration::from_secs(1);
/// How long a member may take to say whether it has room.
const ASK_MAX: Duration = Duration::from_millis(500);

impl Member {
    /// Whether the disk has room for a command. That of the leader counts; what it sends, the others must take as long as they can.
    pub(crate) fn check_room(&self, command: &Command) -> Result<(), WriteError> {
        if self.cluster.is_some() && !self.leadership.borrow().is_leader {
            return Ok(());
        }
        self.space.check(command)
    }

    /// Gives the leadership away when this member refuses writes for want of room, until the store stops.
    pub(crate) async fn give_way(self, cluster: Arc<Cluster>) {
        let stop = self.stop.token().clone();
        let work = async {
            loop {
                self.space.refused().await;
                if self.leadership.borrow().is_leader {
                    self.hand_to_one_with_room(&cluster).await;
                }
                tokio::time::sleep(AGAIN).await;
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = work => {}
        }
    }

    async fn hand_to_one_with_room(&self, cluster: &Cluster) {
        for member in self.successors().await {
            if !has_room(cluster, member).await {
                continue;
            }
            tracing::warn!(successor = member, "this member's disk is full: handing the leadership over");
            if let Err(error) = self.move_leader(member).await {
                tracing::warn!(successor = member, %error, "the leadership was not handed over");
            }
            return;
        }
        tracing::warn!("this member's disk is full, and no other member has room");
    }
}

/// Whether a member answers that its disk is not full.
async fn has_room(cluster: &Cluster, member: u64) -> bool {
    let Some(peer) = cluster.peers.get(member) else { return false };
    let ask = async {
        let session = cluster.peers.session(&peer, Purpose::Calls).await.ok()?;
        session.call(&Request::Room).await.ok()
    };
    matches!(tokio::time::timeout(ASK_MAX, ask).await, Ok(Some(Reply::Pong)))
}
