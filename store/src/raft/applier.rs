//! The apply loop, on a thread of its own: committed entries become rows, events and answers, in groups.
//!
//! openraft hands entries over and goes on; a queue with a bound lies between. What openraft calls applied may therefore be a moment ahead of
//! the tables. Nobody is answered before the rows are written and visible, reads use the tables' own revision, and the log is purged only
//! up to what the tables have on disk.
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::EntryPayload;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::answers::{Answers, Asker};
use super::apply_queue::{AppliedEntry, ApplyQueue, Job, Progress, Responder, Seat};
use super::caller::WayBack;
use super::machine::StagedTables;
use super::membership;
use super::proposals::Proposals;
use super::types::{Entry, LogId, Origin, Proposal, SnapshotMeta, StoredMembership, log_id, term};
use crate::api::Revision;
use crate::disk_space::Stalled;
use crate::engine::{AppliedMark, Group, GroupView, Tables};
use crate::lease::LeaseTable;
use crate::metering::{Meters, Written};
use crate::mvcc::{self, Effects, Reply, Staged, View as _, ViewError, apply};
use crate::platform::{Loop, Platform, Teller};
use crate::stop::StopState;
use crate::watch::{Hub, Published};

/// So many entries become one write to the tables.
const GROUP_ENTRIES_MAX: usize = 512;
/// Between attempts to write on a full disk.
const NO_SPACE_RETRY: Duration = Duration::from_millis(100);
/// RocksDB does not always recover from a disk that was full to the last byte. If it still fails after so many attempts with room on the
/// disk, the store stops; the log has everything, and opening the store again helps.
const RETRIES_WITH_ROOM_MAX: u32 = 100;

/// What the apply loop tells of its progress.
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
    /// Called when there is something to do beside applying: the floor was raised, or keys were looked for in vain.
    pub(crate) upkeep: Arc<dyn Fn() + Send + Sync>,
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
        let (jobs, queue) = ApplyQueue::channel();
        let failed = |source| crate::OpenError::Io { what: "starting the apply loop".into(), source };
        let (answers, answering) = Answers::spawn().map_err(failed)?;
        let shared = Shared { answers, progress: Arc::clone(&progress), applied: tell };
        let seat = Arc::new(tokio::sync::Mutex::new(Some(Applying { applier: self, shared })));
        let applying = platform.spawn_loop("store-apply", run(queue, Arc::clone(&seat))).map_err(failed)?;
        let platform = platform.clone();
        Ok((ApplyQueue { jobs, seat, platform, progress, applied }, [applying, answering]))
    }
}

/// Leaves out what came the short way before. Its callers have their answers; consensus waits for one for each.
pub(super) fn not_applied(
    mut entries: Vec<(Entry, Responder)>,
    applied: Option<u64>,
) -> Vec<(Entry, Responder)> {
    let Some(applied) = applied else { return entries };
    let known = entries.partition_point(|(entry, _)| entry.log_id.index <= applied);
    for (_, responder) in entries.drain(..known) {
        if let Some(responder) = responder {
            responder.send(Ok(Reply::Nothing));
        }
    }
    entries
}

/// Whether somebody wants to know when it is applied.
fn is_timed(entry: &Entry) -> bool {
    matches!(&entry.payload, EntryPayload::Normal(proposal) if proposal.times().is_some())
}

/// Takes jobs until the queue is closed.
async fn run(mut queue: mpsc::Receiver<Job>, seat: Seat) {
    while let Some(job) = queue.recv().await {
        let mut seat = seat.lock().await;
        let goes_on = match seat.as_ref() {
            Some(applying) => applying.job(job).await,
            None => false,
        };
        if !goes_on {
            *seat = None;
            return;
        }
    }
}

/// What a group of entries comes to, before any of it is written.
struct Decided {
    effects: Vec<Effects>,
    answers: Vec<(Waiting, mvcc::Applied)>,
    membership: Option<StoredMembership>,
    written: Written,
    last: LogId,
    mark: AppliedMark,
}

/// Who may wait for an entry.
struct Waiting {
    log_id: LogId,
    responder: Responder,
    origin: Option<Origin>,
    back: WayBack,
}

impl Waiting {
    fn asker(self) -> Option<Asker> {
        match self.responder {
            Some(responder) => Some(Asker::Consensus(responder)),
            None => self.back.take().map(|caller| Asker::Here(caller, self.log_id)),
        }
    }
}

/// The applier at work, on one thread at a time.
pub(super) struct Applying {
    applier: Applier,
    shared: Shared,
}

impl Applying {
    /// Does a job; false ends the loop.
    async fn job(&self, job: Job) -> bool {
        match job {
            Job::Apply(entries) => self.apply_all(not_applied(entries, self.applied_index())).await,
            Job::Early(entries) => self.apply_early(entries).await,
            Job::Install { meta, staged, done } => {
                let installed = self.applier.install(&meta, &staged, &self.shared);
                // Whoever asked sees the error; if nobody does, consensus has ended.
                drop(done.send(installed.map_err(|error| std::io::Error::other(error.to_string()))));
                true
            }
            Job::Barrier(done) => {
                // It fails if nobody waits any more.
                let _waits = done.send(()).is_ok();
                true
            }
            Job::Close => false,
        }
    }

    fn applied_index(&self) -> Option<u64> {
        self.shared.progress.lock().last.map(|id| id.index)
    }

    /// Applies entries that consensus has not handed over yet, if they follow what is applied. False ends the loop.
    pub(super) async fn apply_early(&self, entries: Vec<Entry>) -> bool {
        let next = self.applied_index().map_or(0, |applied| applied + 1);
        if entries.first().is_none_or(|first| first.log_id.index != next) {
            return true;
        }
        self.apply_all(entries.into_iter().map(|entry| (entry, None)).collect()).await
    }

    async fn apply_all(&self, mut entries: Vec<(Entry, Responder)>) -> bool {
        while !entries.is_empty() {
            let rest = entries.split_off(entries.len().min(GROUP_ENTRIES_MAX));
            if let Err(error) = self.applier.apply_group(entries, &self.shared).await {
                self.applier.stop.halt(&format!("applying the log: {error}"));
                return false;
            }
            entries = rest;
        }
        true
    }
}

impl Applier {
    /// Decides what entries do, in order.
    fn decide(&self, entries: Vec<(Entry, Responder)>, last: LogId) -> Result<Decided, ViewError> {
        let db = self.tables.db()?;
        let view = GroupView::new(&self.tables, &db, &self.leases, self.hub.looks_back());
        let mut staged = Staged::new(&view, entries.len());
        let mut answers = Vec::with_capacity(entries.len());
        let mut members = None;
        let mut written = Written::default();
        for (entry, responder) in entries {
            let log_id = entry.log_id;
            let mut waiting = Waiting { log_id, responder, origin: None, back: WayBack::default() };
            let applied = match entry.payload {
                EntryPayload::Blank => Ok(Reply::Nothing),
                EntryPayload::Membership(membership) => {
                    members = Some(StoredMembership::new(Some(log_id), membership));
                    Ok(Reply::Nothing)
                }
                EntryPayload::Normal(Proposal { command, origin, back }) => {
                    (waiting.origin, waiting.back) = (origin, back);
                    let mut done = apply(&staged, &command)?;
                    written.add(&command, &done);
                    let applied = std::mem::replace(&mut done.applied, Ok(Reply::Nothing));
                    staged.absorb(done);
                    applied
                }
            };
            answers.push((waiting, applied));
        }
        let mark = AppliedMark {
            index: Some(last.index),
            term: term(&last),
            revision: staged.revision(),
            floor: staged.floor(),
        };
        let effects = staged.into_effects();
        Ok(Decided { effects, answers, membership: members, written, last, mark })
    }

    async fn apply_group(&self, entries: Vec<(Entry, Responder)>, shared: &Shared) -> Result<(), ViewError> {
        let Some(last) = entries.last().map(|(entry, _)| entry.log_id) else { return Ok(()) };
        let timed = entries.iter().any(|(entry, _)| is_timed(entry)).then(tokio::time::Instant::now);
        let Decided { effects, answers, membership, written, last, mark } = self.decide(entries, last)?;
        self.write(&effects, membership.as_ref(), mark).await?;
        self.meters.written(&written);
        self.make_visible(effects, mark);
        if let Some(began) = timed {
            let span = (began, tokio::time::Instant::now());
            for times in answers.iter().filter_map(|(waiting, _)| waiting.back.times()) {
                times.applied(span, answers.len());
            }
        }
        let mut callers = Vec::with_capacity(answers.len());
        for (waiting, applied) in answers {
            if let Some(forwarded) = self.proposals.take(waiting.origin) {
                // A caller that gave up needs no answer.
                drop(forwarded.send(applied));
            } else if let Some(asker) = waiting.asker() {
                callers.push((asker, applied));
            }
        }
        // Only now that nobody else can answer these callers: see `ApplyQueue::apply`.
        {
            let mut progress = shared.progress.lock();
            progress.last = Some(last);
            if let Some(membership) = membership {
                progress.membership = membership;
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
        (self.upkeep)();
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
            group.add_all(all);
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
        if mark.floor > floor_before.max(Revision(0)) || self.tables.wants_known_keys() {
            (self.upkeep)();
        }
    }
}
