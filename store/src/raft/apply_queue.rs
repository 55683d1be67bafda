//! The way to the apply loop.
use std::sync::Arc;

use openraft::storage::ApplyResponder;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::applier::{Applying, not_applied};
use super::machine::StagedTables;
use super::types::{Entry, LogId, SnapshotMeta, StoredMembership, TypeConfig};
use crate::platform::{Hearer, Platform};

/// So many batches of entries wait at most; openraft waits beyond that.
const QUEUE_MAX: usize = 16;

pub(super) type Responder = Option<ApplyResponder<TypeConfig>>;

pub(super) enum Job {
    Apply(Vec<(Entry, Responder)>),
    /// Entries that consensus will hand over as well.
    Early(Vec<Entry>),
    /// Puts a snapshot into the place of the tables.
    Install {
        meta: SnapshotMeta,
        staged: StagedTables,
        done: oneshot::Sender<std::io::Result<()>>,
    },
    /// Answered when everything before it is applied.
    Barrier(oneshot::Sender<()>),
    Close,
}

/// How far the applier has come, with the membership there.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    pub(super) last: Option<LogId>,
    pub(super) membership: StoredMembership,
}

/// The term and the index of the last applied entry.
pub(crate) type AppliedEntry = Option<(u64, u64)>;

/// What applies, whichever thread it is on; none once it has ended.
pub(super) type Seat = Arc<tokio::sync::Mutex<Option<Applying>>>;

/// The way to the apply loop.
#[derive(Clone)]
pub(crate) struct ApplyQueue {
    pub(super) jobs: mpsc::Sender<Job>,
    pub(super) seat: Seat,
    pub(super) platform: Platform,
    pub(super) progress: Arc<Mutex<Progress>>,
    pub(super) applied: Hearer<AppliedEntry>,
}

impl std::fmt::Debug for ApplyQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApplyQueue").finish_non_exhaustive()
    }
}

impl ApplyQueue {
    /// A channel for jobs with the bound that they have.
    pub(super) fn channel() -> (mpsc::Sender<Job>, mpsc::Receiver<Job>) {
        mpsc::channel(QUEUE_MAX)
    }

    /// Has entries applied that consensus hands over. What came the short way needs no thread to be woken: whoever finds an entry applied
    /// knows that its caller is not waiting on consensus any more.
    pub(super) async fn apply(&self, entries: Vec<(Entry, Responder)>) -> std::io::Result<()> {
        let entries = not_applied(entries, self.applied_index());
        if entries.is_empty() {
            return Ok(());
        }
        self.jobs
            .send(Job::Apply(entries))
            .await
            .map_err(|_closed| std::io::Error::other("the apply loop has ended"))
    }

    /// Applies entries that are committed, before consensus hands them over: `here` on the caller's thread, if nothing else waits. Nothing
    /// happens if they do not follow what is applied, or if there is no room; they come again.
    pub(super) async fn apply_early(&self, entries: Vec<Entry>, here: bool) {
        if here
            && self.jobs.capacity() == self.jobs.max_capacity()
            && let Ok(mut seat) = self.seat.try_lock()
            && let Some(applying) = seat.as_ref()
        {
            if !applying.apply_early(entries).await {
                *seat = None;
            }
            return;
        }
        drop(self.jobs.try_send(Job::Early(entries)));
    }

    /// Puts a snapshot into the place of the tables, after what was handed over before.
    pub(super) async fn install(&self, meta: SnapshotMeta, staged: StagedTables) -> std::io::Result<()> {
        let gone = || std::io::Error::other("the apply loop has ended");
        let (done, installed) = oneshot::channel();
        self.jobs.send(Job::Install { meta, staged, done }).await.map_err(|_closed| gone())?;
        installed.await.map_err(|_dropped| gone())?
    }

    /// The last applied entry, now and from now on. Callers that wait for an entry are answered before this tells of it.
    pub(super) fn applied(&self) -> Hearer<AppliedEntry> {
        self.applied.clone()
    }

    /// Waits until all that was handed over is applied.
    pub(crate) async fn drained(&self) -> std::io::Result<()> {
        let gone = || std::io::Error::other("the apply loop has ended");
        let (done, reached) = oneshot::channel();
        self.jobs.send(Job::Barrier(done)).await.map_err(|_closed| gone())?;
        reached.await.map_err(|_dropped| gone())
    }

    /// Ends the loop after what was handed over. An error means that it has ended already.
    pub(crate) async fn close(&self) {
        drop(self.jobs.send(Job::Close).await);
    }

    /// What the apply loop runs on.
    pub(super) fn platform(&self) -> &Platform {
        &self.platform
    }

    pub(super) fn progress(&self) -> Progress {
        self.progress.lock().clone()
    }

    /// The index of the last applied entry.
    pub(crate) fn applied_index(&self) -> Option<u64> {
        self.progress.lock().last.map(|id| id.index)
    }
}
