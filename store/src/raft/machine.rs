//! The state machine as openraft sees it.
//!
//! Two things are called snapshot here. One that is *built* is a mark, "the tables have everything up to this entry on disk", which lets the
//! log be purged. One that is *read* is an image of the tables at their present entry, to be sent to a member that lags; it comes in there as
//! tables in a directory of their own, which take the place of the member's.
use std::io;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{OptionalSend, RaftSnapshotBuilder};
use parking_lot::Mutex;

use super::apply_queue::ApplyQueue;
use super::membership;
use super::types::{LogId, SnapshotMeta, SnapshotOf, StoredMembership, TypeConfig, log_id};
use crate::engine::{Image, Tables};
use crate::worker_pool::WorkerPool;

type Snapshot = SnapshotOf<SnapshotData>;

/// A snapshot's data.
#[derive(Debug)]
pub(crate) enum SnapshotData {
    /// The tables themselves, on this member.
    Mark,
    /// To be sent.
    Outgoing(Box<Image>),
    /// Received: to be put into the place of the tables.
    Staged(StagedTables),
}

/// Tables in a directory beside the member's.
#[derive(Debug)]
pub(crate) struct StagedTables {
    /// The directory's name in the data directory.
    pub(crate) name: String,
}

/// Hands committed entries to the apply thread.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    queue: ApplyQueue,
    tables: Arc<Tables>,
    pool: WorkerPool,
    /// The last entry that openraft has handed over. The tables may be ahead of it: see [`Shortcut`](super::Shortcut).
    handed: Arc<Mutex<Option<LogId>>>,
}

impl Machine {
    pub(crate) fn new(queue: ApplyQueue, tables: Arc<Tables>, pool: WorkerPool) -> Self {
        let handed = Arc::new(Mutex::new(queue.progress().last));
        Self { queue, tables, pool, handed }
    }

    pub(super) fn queue(&self) -> &ApplyQueue {
        &self.queue
    }
}

fn failed(error: &dyn std::fmt::Display) -> io::Error {
    io::Error::other(error.to_string())
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = SnapshotData;
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
        if let Some((entry, _)) = group.last() {
            *self.handed.lock() = Some(entry.log_id);
        }
        self.queue.apply(group).await
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotData) -> io::Result<()> {
        match snapshot {
            SnapshotData::Staged(staged) => {
                *self.handed.lock() = meta.last_log_id;
                self.queue.install(meta.clone(), staged).await
            }
            SnapshotData::Mark | SnapshotData::Outgoing(_) => {
                Err(io::Error::new(io::ErrorKind::InvalidInput, "a snapshot that was not received"))
            }
        }
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        let image = Image::take(Arc::clone(&self.tables), self.queue.platform())
            .await
            .map_err(|error| failed(&error))?;
        let Some(index) = image.mark.index else { return Ok(None) };
        let last_membership = match &image.membership {
            None => StoredMembership::default(),
            Some(row) => membership::decode_stored(row).map_err(|error| failed(&error))?,
        };
        let meta = SnapshotMeta { last_log_id: Some(log_id(image.mark.term, index)), last_membership };
        Ok(Some(Snapshot { meta, snapshot: SnapshotData::Outgoing(Box::new(image)) }))
    }
}

impl RaftSnapshotBuilder<TypeConfig> for Machine {
    type SnapshotData = SnapshotData;

    /// Tells what is on disk now; the caller has had the tables flushed, and waited for space if there was none.
    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let last_membership = self.queue.progress().membership;
        let tables = Arc::clone(&self.tables);
        let read = self.pool.run(move || tables.durable_mark()).await;
        let mark =
            read.ok_or_else(|| io::Error::other("the store was closed"))?.map_err(|error| failed(&error))?;
        let durable = mark.index.map(|index| log_id(mark.term, index));
        // openraft must not hear of entries that it does not know to be committed yet.
        let last_log_id = durable.min(*self.handed.lock());
        Ok(Snapshot { meta: SnapshotMeta { last_log_id, last_membership }, snapshot: SnapshotData::Mark })
    }
}
