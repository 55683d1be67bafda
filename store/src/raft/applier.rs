//! The apply loop, on a thread of its own: committed entries become rows, events and answers, in groups.
//!
//! openraft hands entries over and goes on; a queue with a bound lies between. What openraft calls applied may therefore be a moment ahead of
//! the tables. Nobody is answered before the rows are written and visible, reads use the tables' own revision, and the log is purged only
//! up to what the tables have on disk.
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::EntryPayload;
use openraft::storage::ApplyResponder;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::answers::Answers;
use super::machine::StagedTables;
use super::membership;
use super::proposals::Proposals;
use super::types::{
    Entry, LogId, Origin, Proposal, SnapshotMeta, StoredMembership, TypeConfig, log_id, term,
};
use crate::api::Revision;
use crate::disk_space::Stalled;
use crate::engine::{AppliedMark, EngineView, Group, Tables};
use crate::lease::LeaseTable;
use crate::metering::{Meters, Written};
use crate::mvcc::{self, Effects, Reply, Staged, View as _, ViewError, apply};
use crate::platform::{Hearer, Loop, Platform, Teller};
use crate::stop::StopState;
use crate::watch::{Hub, Published};

/// So many batches of entries wait at most; openraft waits beyond that.
const QUEUE_MAX: usize = 16;
/// So many entries become one write to the tables.
const GROUP_ENTRIES_MAX: usize = 512;
/// Between attempts to write on a full disk.
const NO_SPACE_RETRY: Duration = Duration::from_millis(100);
/// RocksDB does not always recover from a disk that was full to the last byte. If it still fails after so many attempts with room on the
/// disk, the store stops; the log has everything, and opening the store again helps.
const RETRIES_WITH_ROOM_MAX: u32 = 100;

type Responder = Option<ApplyResponder<TypeConfig>>;

enum Job {
    Apply(Vec<(Entry, Responder)>),
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

/// The way to the apply thread.
#[derive(Clone, Debug)]
pub(crate) struct ApplyQueue {
    jobs: mpsc::Sender<Job>,
    platform: Platform,
    progress: Arc<Mutex<Progress>>,
    applied: Hearer<AppliedEntry>,
}

/// The term and the index of the last applied entry.
pub(crate) type AppliedEntry = Option<(u64, u64)>;

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Job")
    }
}

impl ApplyQueue {
    pub(super) async fn apply(&self, entries: Vec<(Entry, Responder)>) -> std::io::Result<()> {
        self.jobs
            .send(Job::Apply(entries))
            .await
            .map_err(|_closed| std::io::Error::other("the apply loop has ended"))
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

    /// Ends the thread after what was handed over. An error means that it has ended already.
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

/// What the apply thread tells of its progress.
struct Shared {
    answers: Answers,
    progress: Arc<Mutex<Progress>>,
    applied: Teller<AppliedEntry>,
}

/// What the apply thread works on.
pub(crate) struct Applier {
    pub(crate) tables: Arc<Tables>,
    pub(crate) leases: Arc<LeaseTable>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) stop: Arc<StopState>,
    pub(crate) proposals: Arc<Proposals>,
    /// The data directory, where snapshots wait.
    pub(crate) dir: std::path::PathBuf,
    pub(crate) stalled: Arc<Stalled>,
    pub(crate) meters: Arc<Meters>,
    /// Called when the floor was raised.
    pub(crate) floor_raised: Arc<dyn Fn() + Send + Sync>,
}

impl Applier {
    /// Starts the loops. `mark` is what the tables have.
    pub(crate) fn spawn(
        self,
        platform: &Platform,
        mark: AppliedMark,
    ) -> Result<(ApplyQueue, [Loop; 2]), crate::OpenError> {
        let damaged = |message: String| crate::OpenError::Engine { what: "reading the membership", message };
        let membership = match self.tables.membership().map_err(|error| damaged(error.to_string()))? {
            None => StoredMembership::default(),
            Some(bytes) => membership::decode_stored(&bytes).map_err(|error| damaged(error.to_string()))?,
        };
        let last = mark.index.map(|index| log_id(mark.term, index));
        let progress = Arc::new(Mutex::new(Progress { last, membership }));
        let tell = Teller::new(last.map(|id| (term(&id), id.index)));
        let applied = tell.hearer();
        let (jobs, queue) = mpsc::channel(QUEUE_MAX);
        let failed = |source| crate::OpenError::Io { what: "starting the apply loop".into(), source };
        let (answers, answering) = Answers::spawn().map_err(failed)?;
        let shared = Shared { answers, progress: Arc::clone(&progress), applied: tell };
        let applying = platform
            .spawn_loop("store-apply", async move { self.run(queue, shared).await })
            .map_err(failed)?;
        let platform = platform.clone();
        Ok((ApplyQueue { jobs, platform, progress, applied }, [applying, answering]))
    }

    async fn run(self, mut queue: mpsc::Receiver<Job>, shared: Shared) {
        while let Some(job) = queue.recv().await {
            match job {
                Job::Apply(mut entries) => {
                    while !entries.is_empty() {
                        let rest = entries.split_off(entries.len().min(GROUP_ENTRIES_MAX));
                        if let Err(error) = self.apply_group(entries, &shared).await {
                            self.stop.halt(&format!("applying the log: {error}"));
                            return;
                        }
                        entries = rest;
                    }
                }
                Job::Install { meta, staged, done } => {
                    let installed = self.install(&meta, &staged, &shared);
                    // Whoever asked sees the error; if nobody does, consensus has ended.
                    drop(done.send(installed.map_err(|error| std::io::Error::other(error.to_string()))));
                }
                Job::Barrier(done) => drop(done.send(())),
                Job::Close => return,
            }
        }
    }

    async fn apply_group(&self, entries: Vec<(Entry, Responder)>, shared: &Shared) -> Result<(), ViewError> {
        let Some(last) = entries.last().map(|(entry, _)| entry.log_id) else { return Ok(()) };
        let view = EngineView::new(&self.tables, &self.leases);
        let mut staged = Staged::new(&view);
        let mut all: Vec<Effects> = Vec::with_capacity(entries.len());
        let mut answers: Vec<(Responder, Option<Origin>, mvcc::Applied)> = Vec::with_capacity(entries.len());
        let mut members: Option<StoredMembership> = None;
        let mut written = Written::default();
        for (entry, responder) in entries {
            let mut origin = None;
            let applied = match entry.payload {
                EntryPayload::Blank => Ok(Reply::Nothing),
                EntryPayload::Membership(membership) => {
                    members = Some(StoredMembership::new(Some(entry.log_id), membership));
                    Ok(Reply::Nothing)
                }
                EntryPayload::Normal(Proposal { command, origin: from }) => {
                    origin = from;
                    let mut effects = apply(&staged, &command)?;
                    staged.absorb(&effects);
                    written.add(&command, &effects);
                    let applied = std::mem::replace(&mut effects.applied, Ok(Reply::Nothing));
                    all.push(effects);
                    applied
                }
            };
            answers.push((responder, origin, applied));
        }
        let mark = AppliedMark {
            index: Some(last.index),
            term: term(&last),
            revision: staged.revision(),
            floor: staged.floor(),
        };
        self.write(&all, members.as_ref(), mark).await?;
        self.meters.written(&written);
        self.make_visible(all, mark);
        {
            let mut progress = shared.progress.lock();
            progress.last = Some(last);
            if let Some(members) = members {
                progress.membership = members;
            }
        }
        let mut callers = Vec::with_capacity(answers.len());
        for (responder, origin, applied) in answers {
            if let Some(waiting) = self.proposals.take(origin) {
                // A caller that gave up needs no answer.
                drop(waiting.send(applied));
            } else if let Some(responder) = responder {
                callers.push((responder, applied));
            }
        }
        shared.answers.send(callers).await;
        shared.applied.tell(Some((term(&last), last.index)));
        Ok(())
    }

    /// Puts the tables of a snapshot into the place of ours. Whatever happens, one or the other is whole.
    fn install(
        &self,
        meta: &SnapshotMeta,
        staged: &StagedTables,
        shared: &Shared,
    ) -> Result<(), crate::engine::EngineError> {
        let mark = self.tables.replace(&self.dir, &staged.name)?;
        let leases = self.tables.load_leases()?;
        self.leases.replace(leases);
        self.hub.skip_to(mark.revision);
        self.proposals.forget_all();
        {
            let mut progress = shared.progress.lock();
            progress.last = meta.last_log_id;
            progress.membership = meta.last_membership.clone();
        }
        shared.applied.tell(meta.last_log_id.map(|id| (term(&id), id.index)));
        (self.floor_raised)();
        tracing::info!(revision = mark.revision.0, "a snapshot of the leader took the place of the tables");
        Ok(())
    }

    /// Writes the group's rows. A full disk is waited for: the entries are in the log, and nobody was answered.
    async fn write(
        &self,
        all: &[Effects],
        members: Option<&StoredMembership>,
        mark: AppliedMark,
    ) -> Result<(), ViewError> {
        let mut in_vain = 0;
        loop {
            let mut group = Group::new();
            for effects in all {
                group.add(effects);
            }
            if let Some(members) = members {
                group.set_membership(&membership::encode_stored(members));
            }
            let began = tokio::time::Instant::now();
            match group.write(&self.tables, mark) {
                Err(error)
                    if error.no_space && in_vain < RETRIES_WITH_ROOM_MAX && !self.stop.is_stopped() =>
                {
                    in_vain = if self.tables.has_room() { in_vain + 1 } else { 0 };
                    tracing::warn!(%error, "no space for the tables, waiting");
                    self.stalled.tables.store(true, Ordering::Relaxed);
                    tokio::time::sleep(NO_SPACE_RETRY).await;
                }
                result => {
                    self.stalled.tables.store(false, Ordering::Relaxed);
                    self.meters.table_writes.observe(began.elapsed());
                    return Ok(result?);
                }
            }
        }
    }

    /// Leases, then reads, then watchers; answers come after.
    fn make_visible(&self, all: Vec<Effects>, mark: AppliedMark) {
        let floor_before = self.tables.floor();
        // Permissions before data: who reads the data is checked against permissions at least as new.
        for effects in &all {
            if let Some(auth) = &effects.auth {
                self.tables.auth().absorb(auth, tokio::time::Instant::now());
            }
            self.leases.absorb(effects);
            self.tables.absorb(effects);
        }
        self.tables.publish(mark.revision, mark.floor);
        let published = all
            .into_iter()
            .filter(|effects| !effects.changes.is_empty())
            .map(|effects| Published { revision: effects.revision, changes: effects.changes })
            .collect();
        self.hub.publish(published);
        if mark.floor > floor_before.max(Revision(0)) {
            (self.floor_raised)();
        }
    }
}
