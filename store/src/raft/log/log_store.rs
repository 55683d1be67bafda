//! What openraft calls.
use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{EntryPayload, LogState, OptionalSend, RaftLogReader};
use tokio::sync::{mpsc, oneshot};

use super::direct::{self, Direct};
use super::flusher::Job;
use super::tail::Tail;
use crate::raft::Shortcut;
use crate::raft::types::{Entry, LogId, TypeConfig, Vote, log_id};

/// So many entries, and about so many bytes of them, are handed out at once to another member.
const READ_ENTRIES_MAX: u64 = 1024;
const READ_BYTES_MAX: u64 = 1 << 20;

/// A cheap handle on the log.
#[derive(Clone, Debug)]
pub(crate) struct LogStore {
    jobs: mpsc::Sender<Job>,
    tail: Arc<Tail>,
    shortcut: Arc<Shortcut>,
    direct: Direct,
    committed: Option<LogId>,
}

impl LogStore {
    pub(super) fn new(
        jobs: mpsc::Sender<Job>,
        tail: Arc<Tail>,
        shortcut: Arc<Shortcut>,
        direct: Direct,
    ) -> Self {
        Self { jobs, tail, shortcut, direct, committed: None }
    }

    /// The same with an entry that is known to be committed, if this log has it.
    pub(crate) fn committed_upto(self, (term, index): (u64, u64)) -> io::Result<Self> {
        let noted = log_id(term, index);
        let found = self.tail.read(index..=index)?;
        let committed = found.first().is_some_and(|entry| entry.log_id == noted).then_some(noted);
        Ok(Self { committed, ..self })
    }

    /// The last entry that may be purged if so many entries are to stay, but no more than so many bytes of them.
    pub(crate) fn purgeable(&self, entries: u64, bytes: u64) -> Option<u64> {
        self.tail.purgeable(entries, bytes)
    }

    async fn send(&self, job: Job) -> io::Result<()> {
        self.direct.pending.fetch_add(1, Ordering::AcqRel);
        self.jobs.send(job).await.map_err(|_closed| io::Error::other("the log is closed"))
    }

    async fn send_and_wait(
        &self,
        job: impl FnOnce(oneshot::Sender<io::Result<()>>) -> Job,
    ) -> io::Result<()> {
        let (done, finished) = oneshot::channel();
        self.send(job(done)).await?;
        finished.await.map_err(|_dropped| io::Error::other("the log was closed before it answered"))?
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        self.tail.read(range)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.tail.read_some(start..end.min(start.saturating_add(READ_ENTRIES_MAX)), READ_BYTES_MAX)
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.tail.vote())
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        Ok(LogState { last_purged_log_id: self.tail.purged(), last_log_id: self.tail.last() })
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.committed)
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let vote = *vote;
        self.send_and_wait(|done| Job::Vote { vote, done }).await?;
        self.tail.set_vote(vote);
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, flushed: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        for entry in &entries {
            if let EntryPayload::Membership(membership) = &entry.payload {
                self.shortcut.check(membership);
            }
        }
        let bytes = self.tail.push_all(&entries)?;
        let number = entries.len();
        let job = Job::Append { entries, flushed };
        let seat = if self.shortcut.is_open() { self.direct.admits(number, bytes) } else { None };
        let Some(seat) = seat else { return self.send(job).await };
        let took = direct::write(seat, job).await;
        self.direct.took(took);
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let index = last.map(|last| last.index);
        self.tail.truncate_after(index);
        self.send_and_wait(|done| Job::TruncateAfter { index, done }).await
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        self.tail.purge(upto);
        self.send_and_wait(|done| Job::Purge { upto, done }).await
    }
}
