//! The loop that writes and syncs the log, on a thread of its own. Jobs that wait while a sync is under way share the next one.
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use openraft::EntryPayload;
use openraft::storage::IOFlushed;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use super::direct::{Direct, LoneCaller};
use super::disk::DiskFile;
use super::file::Directory;
use super::log_store::LogStore;
use super::record::{self, Place, Record};
use super::recovery::{OpenFile, recover};
use super::tail::{Position, Tail};
use crate::api::{OpenError, WriteTimes};
use crate::disk_space::Stalled;
use crate::metering::Meters;
use crate::platform::{Loop, Platform, SeededBug, is_seeded};
use crate::raft::Shortcut;
use crate::raft::types::{Entry, LogId, TypeConfig, Vote};
use crate::stop::StopState;

/// So many jobs wait at most; openraft waits beyond that.
const JOBS_MAX: usize = 4096;
/// One sync covers at most so many bytes.
const GROUP_BYTES_MAX: usize = 4 << 20;
/// Of a member that is alone, so many entries are applied by this loop itself: to wake the apply loop takes longer. More are worth a second core.
const APPLIED_HERE_MAX: usize = 256;
/// What an entry and the end of a file need beside the entry's content, generously.
const ENTRY_OVERHEAD: u64 = 4096;
/// Between attempts to begin a file on a full disk.
const NO_SPACE_RETRY: Duration = Duration::from_millis(100);

/// What the flusher is asked to make durable, in order.
pub(super) enum Job {
    Append { entries: Vec<Entry>, flushed: IOFlushed<TypeConfig> },
    Vote { vote: Vote, done: oneshot::Sender<io::Result<()>> },
    TruncateAfter { index: Option<u64>, done: oneshot::Sender<io::Result<()>> },
    Purge { upto: LogId, done: oneshot::Sender<io::Result<()>> },
    Close { done: oneshot::Sender<io::Result<()>> },
}

/// What writes, whichever thread it is on.
pub(super) type Seat = Arc<tokio::sync::Mutex<Flusher>>;

/// The log's files, opened: what the flusher runs on.
#[derive(Debug)]
pub(crate) struct LogFiles {
    jobs: mpsc::Sender<Job>,
    store: LogStore,
    tail: Arc<Tail>,
    shortcut: Arc<Shortcut>,
    flushing: Loop,
    file_bytes: u64,
}

/// How the log is kept.
#[derive(Clone, Debug)]
pub(crate) struct LogConfig {
    pub(crate) path: std::path::PathBuf,
    pub(crate) cluster_id: u64,
    pub(crate) file_bytes: u64,
    pub(crate) sync: bool,
    /// Whether a caller that is the only one may write and sync its entry itself.
    pub(crate) sync_where_proposed: bool,
    /// Whenever so many bytes were written, `grown` is notified.
    pub(crate) checkpoint_bytes: u64,
    pub(crate) grown: Arc<Notify>,
    pub(crate) stalled: Arc<Stalled>,
    pub(crate) meters: Arc<Meters>,
    pub(crate) platform: Platform,
}

impl LogFiles {
    /// Reads the log and starts its loop. Blocks.
    pub(crate) fn open(config: LogConfig, stop: Arc<StopState>) -> Result<Self, OpenError> {
        let directory = Directory {
            path: config.path,
            cluster_id: config.cluster_id,
            file_bytes: config.file_bytes,
            disk: Arc::clone(config.platform.disk()),
        };
        let recovered = recover(&directory)?;
        let tail = Arc::clone(&recovered.tail);
        let (jobs, queue) = mpsc::channel(JOBS_MAX);
        let shortcut = Arc::new(Shortcut::default());
        let flusher = Flusher {
            directory,
            sync: config.sync,
            tail: Arc::clone(&tail),
            shortcut: Arc::clone(&shortcut),
            files: recovered.files,
            offset: recovered.offset,
            durable: recovered.offset,
            buffer: Vec::new(),
            positions: Vec::new(),
            vote: tail.vote(),
            purged: tail.purged(),
            stop,
            stalled: config.stalled,
            meters: Arc::clone(&config.meters),
            failed: None,
            timed: Vec::new(),
            closed: false,
            grown: config.grown,
            checkpoint_bytes: config.checkpoint_bytes,
            since_checkpoint: 0,
        };
        let seat = Arc::new(tokio::sync::Mutex::new(flusher));
        let pending = Arc::new(AtomicUsize::new(0));
        let flushing = config
            .platform
            .spawn_loop("store-log", run(Arc::clone(&seat), queue, Arc::clone(&pending)))
            .map_err(|source| OpenError::Io { what: "starting the log's loop".into(), source })?;
        let lone = config.sync_where_proposed.then(|| LoneCaller::new(config.meters));
        let direct = Direct { seat, pending, lone };
        let store = LogStore::new(jobs.clone(), Arc::clone(&tail), Arc::clone(&shortcut), direct);
        Ok(Self { jobs, store, tail, shortcut, flushing, file_bytes: config.file_bytes })
    }

    /// The store that openraft gets.
    pub(crate) fn store(&self) -> super::LogStore {
        self.store.clone()
    }

    /// The short way from this log to the tables.
    pub(crate) fn shortcut(&self) -> &Shortcut {
        &self.shortcut
    }

    /// How many bytes the log's files have.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.file_bytes * (self.tail.files() as u64)
    }

    /// The index of the last entry.
    pub(crate) fn last_index(&self) -> Option<u64> {
        self.tail.last().map(|id| id.index)
    }

    /// The index of the last entry that is not in the log any more.
    pub(crate) fn purged_index(&self) -> Option<u64> {
        self.tail.purged().map(|id| id.index)
    }

    /// Whether nothing was ever written here.
    pub(crate) fn is_pristine(&self) -> bool {
        self.tail.last().is_none() && self.tail.vote().is_none()
    }

    /// Syncs what is queued and ends the loop.
    pub(crate) async fn close(self) -> io::Result<()> {
        let (done, closed) = oneshot::channel();
        let gone = || io::Error::other("the log's loop has ended");
        self.jobs.send(Job::Close { done }).await.map_err(|_closed| gone())?;
        let result = closed.await.map_err(|_dropped| gone())?;
        if self.flushing.join().await { result } else { Err(gone()) }
    }
}

pub(super) struct Flusher {
    directory: Directory,
    sync: bool,
    tail: Arc<Tail>,
    shortcut: Arc<Shortcut>,
    /// In order; the last one is written to.
    files: Vec<OpenFile>,
    /// Where `buffer` goes.
    offset: u64,
    /// Everything before this is synced.
    durable: u64,
    buffer: Vec<u8>,
    positions: Vec<(u64, Position)>,
    vote: Option<Vote>,
    purged: Option<LogId>,
    stop: Arc<StopState>,
    stalled: Arc<Stalled>,
    meters: Arc<Meters>,
    /// The first error: after it nothing is written any more.
    failed: Option<(io::ErrorKind, String)>,
    /// Whose entries are in the buffer and who want to know when they are synced.
    timed: Vec<Arc<WriteTimes>>,
    /// Nothing comes after the record that says so.
    closed: bool,
    grown: Arc<Notify>,
    checkpoint_bytes: u64,
    since_checkpoint: u64,
}

/// What waits for the sync of a group.
#[derive(Default)]
struct Waiting {
    /// The last append's; openraft takes it for all before.
    flushed: Option<IOFlushed<TypeConfig>>,
    /// What was appended, if it may go the short way.
    entries: Vec<Entry>,
    done: Vec<oneshot::Sender<io::Result<()>>>,
    /// How many jobs these are of.
    jobs: usize,
    purged: bool,
    closing: bool,
}

/// Writes groups until the log is closed. `pending` is the number of jobs that were sent and are not settled.
async fn run(seat: Seat, mut queue: mpsc::Receiver<Job>, pending: Arc<AtomicUsize>) {
    while let Some(first) = queue.recv().await {
        let settled = seat.lock().await.group(first, Some(&mut queue)).await;
        pending.fetch_sub(settled.jobs, Ordering::AcqRel);
        if settled.closed {
            return;
        }
    }
}

/// What became of a group.
pub(super) struct Settled {
    jobs: usize,
    closed: bool,
}

impl Flusher {
    /// Makes one job durable, with all others that wait.
    pub(super) async fn group(&mut self, first: Job, queue: Option<&mut mpsc::Receiver<Job>>) -> Settled {
        let mut waiting = Waiting::default();
        if self.failed.is_some() {
            // After a failure nothing is written: every job from here on gets the error.
            waiting.add(first, false);
            let settled = Settled { jobs: waiting.jobs, closed: waiting.closing };
            self.settle(&Ok(()), waiting);
            return settled;
        }
        let result = self.write_group(first, queue, &mut waiting).await;
        let settled = Settled { jobs: waiting.jobs, closed: waiting.closing };
        self.closed |= settled.closed;
        let entries = std::mem::take(&mut waiting.entries);
        if result.is_ok() && !entries.is_empty() {
            let here = entries.len() <= APPLIED_HERE_MAX;
            self.shortcut.take(entries, self.vote, here).await;
        }
        self.settle(&result, waiting);
        settled
    }

    /// Whether an entry of so many bytes fits into the present file, and the log is open and well.
    pub(super) fn has_room(&self, bytes: u64) -> bool {
        self.failed.is_none()
            && !self.closed
            && self.buffer.is_empty()
            && self.offset + bytes + ENTRY_OVERHEAD < self.directory.file_bytes
    }

    async fn write_group(
        &mut self,
        first: Job,
        queue: Option<&mut mpsc::Receiver<Job>>,
        waiting: &mut Waiting,
    ) -> io::Result<()> {
        self.take(first, waiting).await?;
        if let Some(queue) = queue {
            while !waiting.closing && self.buffer.len() < GROUP_BYTES_MAX {
                let Ok(job) = queue.try_recv() else { break };
                self.take(job, waiting).await?;
            }
        }
        if waiting.closing {
            // With what went before on disk, this record is proof of it.
            self.flush().await?;
            self.push(&Record::Closed).await?;
        }
        self.flush().await?;
        self.retire(waiting.purged)
    }

    /// Puts a job's records into the buffer. If that fails, the whole group does.
    async fn take(&mut self, job: Job, waiting: &mut Waiting) -> io::Result<()> {
        let result = self.push_job(&job).await;
        waiting.add(job, self.shortcut.is_open());
        result
    }

    async fn push_job(&mut self, job: &Job) -> io::Result<()> {
        match job {
            Job::Append { entries, .. } => {
                for entry in entries {
                    self.push_entry(entry).await?;
                }
                Ok(())
            }
            Job::Vote { .. } if is_seeded(SeededBug::VoteNotPersisted) => Ok(()),
            Job::Vote { vote, .. } => {
                self.vote = Some(*vote);
                self.push(&Record::Vote(*vote)).await
            }
            Job::TruncateAfter { index, .. } => self.push(&Record::TruncateAfter(*index)).await,
            Job::Purge { upto, .. } => {
                self.purged = Some(*upto);
                self.push(&Record::Purge(*upto)).await
            }
            Job::Close { .. } => Ok(()),
        }
    }

    async fn push(&mut self, record: &Record) -> io::Result<()> {
        self.place(|place, out| record::encode(record, place, out)).await.map(|_position| ())
    }

    async fn push_entry(&mut self, entry: &Entry) -> io::Result<()> {
        let position = self.place(|place, out| record::encode_entry(entry, place, out)).await?;
        let index = entry.log_id.index;
        self.positions.push((index, position));
        if let EntryPayload::Normal(proposal) = &entry.payload
            && let Some(times) = proposal.times()
        {
            times.taken();
            self.timed.push(Arc::clone(times));
        }
        if let Some(file) = self.files.last_mut() {
            file.last_index = file.last_index.max(Some(index));
        }
        Ok(())
    }

    /// Encodes a record where it will stand, in the next file if this one has no room.
    async fn place(&mut self, encode: impl Fn(Place, &mut Vec<u8>)) -> io::Result<Position> {
        for _ in 0..2 {
            let number = self.files.last().map_or(0, |file| file.number);
            let start = self.buffer.len();
            let offset = self.offset + start as u64;
            encode(Place { file: number, offset, durable: self.durable }, &mut self.buffer);
            let bytes = self.buffer.len() - start;
            let end_record = record::record_bytes(0) as u64;
            if offset + bytes as u64 + end_record <= self.directory.file_bytes {
                return Ok(Position { file: number, offset, bytes: bytes as u32 });
            }
            self.buffer.truncate(start);
            self.next_file().await?;
        }
        Err(io::Error::new(io::ErrorKind::InvalidInput, "an entry is larger than a file of the log"))
    }

    /// Begins the next file, then ends this one.
    async fn next_file(&mut self) -> io::Result<()> {
        let number = self.files.last().map_or(0, |file| file.number) + 1;
        let state = Record::State { vote: self.vote, purged: self.purged };
        let file = self.begin(number, &state).await?;
        let ended =
            Place { file: number - 1, offset: self.offset + self.buffer.len() as u64, durable: self.durable };
        record::encode(&Record::NextFile, ended, &mut self.buffer);
        self.flush().await?;
        self.tail.add_file(number, Arc::clone(&file));
        self.files.push(OpenFile { number, file, last_index: None });
        let mut first = Vec::new();
        record::encode(&state, Place { file: number, offset: 0, durable: 0 }, &mut first);
        self.offset = record::FILE_HEADER_BYTES + first.len() as u64;
        self.durable = self.offset;
        Ok(())
    }

    /// A full disk is waited for: nothing is lost or acknowledged meanwhile, and new writes are refused elsewhere.
    async fn begin(&self, number: u64, state: &Record) -> io::Result<Arc<dyn DiskFile>> {
        loop {
            match self.directory.begin(number, state) {
                Err(error) if error.kind() == io::ErrorKind::StorageFull && !self.stop.is_stopped() => {
                    tracing::warn!(%error, "no space for the log, waiting");
                    self.stalled.log.store(true, Ordering::Relaxed);
                    tokio::time::sleep(NO_SPACE_RETRY).await;
                }
                result => {
                    self.stalled.log.store(false, Ordering::Relaxed);
                    return result;
                }
            }
        }
    }

    /// Writes and syncs the buffer.
    async fn flush(&mut self) -> io::Result<()> {
        let Some(active) = self.files.last() else { return Err(io::Error::other("the log has no file")) };
        if self.buffer.is_empty() {
            return Ok(());
        }
        let writing = (!self.timed.is_empty()).then(Instant::now);
        active.file.write_all_at(&self.buffer, self.offset)?;
        let mut sync = None;
        if self.sync && !is_seeded(SeededBug::AckBeforeFsync) {
            let delay = self.directory.disk.sync_delay();
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            let began = Instant::now();
            active.file.sync_data()?;
            sync = Some(began.elapsed());
        }
        self.meters.logged(self.buffer.len(), sync);
        if let Some(writing) = writing {
            let (span, entries) = ((writing, Instant::now()), self.positions.len());
            for times in self.timed.drain(..) {
                times.synced(span, entries, self.buffer.len());
            }
        }
        self.offset += self.buffer.len() as u64;
        self.durable = self.offset;
        self.since_checkpoint += self.buffer.len() as u64;
        if self.since_checkpoint >= self.checkpoint_bytes {
            self.since_checkpoint = 0;
            self.grown.notify_one();
        }
        self.buffer.clear();
        self.buffer.shrink_to(GROUP_BYTES_MAX);
        self.tail.written(&self.positions);
        self.positions.clear();
        Ok(())
    }

    /// Takes files out of the log whose entries are all purged; the purge itself is on disk.
    fn retire(&mut self, purged: bool) -> io::Result<()> {
        if !purged {
            return Ok(());
        }
        let Some(upto) = self.purged else { return Ok(()) };
        while self.files.len() > 1
            && self.files.first().is_some_and(|file| file.last_index.is_none_or(|last| last <= upto.index))
        {
            let file = self.files.remove(0);
            self.tail.remove_file(file.number);
            self.directory.retire(&self.directory.path_of(file.number))?;
        }
        self.directory.ensure_spare().or_else(|error| {
            // A spare saves time later; a full disk is no reason to fail now.
            tracing::debug!(%error, "no spare log file");
            Ok(())
        })
    }

    /// Tells everyone who waited. After an error the store stops: what a failed sync left on disk is unknown, and trying again proves nothing.
    fn settle(&mut self, result: &io::Result<()>, waiting: Waiting) {
        if let (Err(error), None) = (result, &self.failed) {
            self.failed = Some((error.kind(), error.to_string()));
            self.stop.halt(&format!("writing the log: {error}"));
        }
        let copy = || match &self.failed {
            None => Ok(()),
            Some((kind, message)) => Err(io::Error::new(*kind, message.clone())),
        };
        if let Some(flushed) = waiting.flushed {
            flushed.io_completed(copy());
        }
        for done in waiting.done {
            // Whoever does not wait any more needs no answer.
            drop(done.send(copy()));
        }
    }
}

impl Waiting {
    fn add(&mut self, job: Job, early: bool) {
        self.jobs += 1;
        match job {
            Job::Append { entries, flushed } => {
                if early {
                    self.entries.extend(entries);
                }
                self.flushed = Some(flushed);
            }
            Job::Vote { done, .. } | Job::TruncateAfter { done, .. } => self.done.push(done),
            Job::Purge { done, .. } => {
                self.purged = true;
                self.done.push(done);
            }
            Job::Close { done } => {
                self.closing = true;
                self.done.push(done);
            }
        }
    }
}
