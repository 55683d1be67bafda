//! The state machine as openraft sees it.
//!
//! A snapshot is a mark here: "the tables have everything up to this entry on disk". That is what lets the log be purged. Its data does not
//! travel: this build has no other members to send it to.
use std::io;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{OptionalSend, RaftSnapshotBuilder};

use super::applier::ApplyQueue;
use super::types::{LogId, SnapshotMeta, SnapshotOf, StoredMembership, TypeConfig, log_id};
use crate::engine::Tables;
use crate::worker_pool::WorkerPool;

type Snapshot = SnapshotOf<SnapshotMark>;

/// What stands for a snapshot's data: the tables themselves, on this member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotMark;

/// Hands committed entries to the apply thread.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    pub(super) queue: ApplyQueue,
    pub(super) tables: Arc<Tables>,
    pub(super) pool: WorkerPool,
}

impl Machine {
    fn snapshot_at(last: Option<LogId>, membership: StoredMembership) -> Snapshot {
        Snapshot {
            meta: SnapshotMeta { last_log_id: last, last_membership: membership },
            snapshot: SnapshotMark,
        }
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = SnapshotMark;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let progress = self.queue.progress();
        Ok((progress.last, progress.membership))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        let mut group = Vec::new();
        while let Some(entry) = entries.next().await {
            group.push(entry?);
        }
        self.queue.apply(group).await
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, _meta: &SnapshotMeta, _snapshot: SnapshotMark) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "this build takes no snapshots from other members"))
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        let membership = self.queue.progress().membership;
        let mark = self.tables.durable_mark().map_err(|error| io::Error::other(error.to_string()))?;
        Ok(mark.index.map(|index| Self::snapshot_at(Some(log_id(mark.term, index)), membership)))
    }
}

impl RaftSnapshotBuilder<TypeConfig> for Machine {
    type SnapshotData = SnapshotMark;

    /// Tells what is on disk now; the caller has had the tables flushed, and waited for space if there was none.
    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let membership = self.queue.progress().membership;
        let tables = Arc::clone(&self.tables);
        let read = self.pool.run(move || tables.durable_mark()).await;
        let mark = read
            .ok_or_else(|| io::Error::other("the store was closed"))?
            .map_err(|error| io::Error::other(error.to_string()))?;
        let last = mark.index.map(|index| log_id(mark.term, index));
        Ok(Self::snapshot_at(last, membership))
    }
}
