//! What is known of the log in memory: where each entry stands, and the newest entries themselves.
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use openraft::EntryPayload;
use parking_lot::Mutex;

use super::disk::DiskFile;
use super::record::{self, Record};
use crate::mvcc::command_bytes;
use crate::raft::types::{Entry, LogId, Vote};

/// Entries on disk are kept in memory as well up to this many bytes.
const CACHED_BYTES_MAX: usize = 4 << 20;

/// Where an entry's record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) file: u64,
    pub(super) offset: u64,
    pub(super) bytes: u32,
}

#[derive(Debug)]
struct Slot {
    log_id: LogId,
    /// None if it has to be read from its position.
    cached: Option<Entry>,
    /// None until it is written.
    position: Option<Position>,
    /// About so many.
    bytes: u32,
}

#[derive(Debug, Default)]
struct Inner {
    /// The index of the first slot.
    first: u64,
    slots: VecDeque<Slot>,
    /// So many slots at the front are not cached.
    evicted: usize,
    cached_bytes: usize,
    files: BTreeMap<u64, Arc<dyn DiskFile>>,
    vote: Option<Vote>,
    purged: Option<LogId>,
}

/// Shared by the log store, its readers and the flusher.
#[derive(Debug, Default)]
pub(super) struct Tail {
    inner: Mutex<Inner>,
}

/// An entry as it is found: in memory, or to be read.
enum Lookup {
    Cached(Entry),
    OnDisk(Arc<dyn DiskFile>, Position),
}

impl Tail {
    pub(super) fn vote(&self) -> Option<Vote> {
        self.inner.lock().vote
    }

    pub(super) fn set_vote(&self, vote: Vote) {
        self.inner.lock().vote = Some(vote);
    }

    pub(super) fn purged(&self) -> Option<LogId> {
        self.inner.lock().purged
    }

    pub(super) fn last(&self) -> Option<LogId> {
        let inner = self.inner.lock();
        inner.slots.back().map(|slot| slot.log_id).or(inner.purged)
    }

    pub(super) fn add_file(&self, number: u64, file: Arc<dyn DiskFile>) {
        self.inner.lock().files.insert(number, file);
    }

    pub(super) fn remove_file(&self, number: u64) {
        self.inner.lock().files.remove(&number);
    }

    pub(super) fn files(&self) -> usize {
        self.inner.lock().files.len()
    }

    /// Adds entries that are not written yet. Returns about how many bytes they have.
    pub(super) fn push_all(&self, entries: &[Entry]) -> io::Result<u64> {
        let mut inner = self.inner.lock();
        entries.iter().map(|entry| Ok(u64::from(inner.push(entry.clone(), None)?))).sum()
    }

    /// Adds an entry that is written, at recovery.
    pub(super) fn push_written(&self, entry: Entry, position: Position) -> io::Result<()> {
        self.inner.lock().push(entry, Some(position)).map(|_bytes| ())
    }

    /// Notes where entries were written.
    pub(super) fn written(&self, positions: &[(u64, Position)]) {
        let mut inner = self.inner.lock();
        for (index, position) in positions {
            let first = inner.first;
            let Some(slot) = index.checked_sub(first).and_then(|at| inner.slots.get_mut(at as usize)) else {
                continue;
            };
            slot.position = Some(*position);
            inner.cached_bytes += position.bytes as usize;
        }
        inner.evict();
    }

    /// Forgets entries after an index (or all).
    pub(super) fn truncate_after(&self, index: Option<u64>) {
        let mut inner = self.inner.lock();
        let first = inner.first;
        let keep = index.map_or(0, |index| (index + 1).saturating_sub(first)) as usize;
        while inner.slots.len() > keep {
            if let Some(slot) = inner.slots.pop_back() {
                inner.forget(&slot);
            }
        }
        inner.evicted = inner.evicted.min(keep);
    }

    /// Forgets entries through this one.
    pub(super) fn purge(&self, upto: LogId) {
        let mut inner = self.inner.lock();
        while inner.slots.front().is_some_and(|slot| slot.log_id.index <= upto.index) {
            if let Some(slot) = inner.slots.pop_front() {
                inner.forget(&slot);
            }
            inner.evicted = inner.evicted.saturating_sub(1);
            inner.first += 1;
        }
        if inner.purged.is_none_or(|purged| purged.index < upto.index) {
            inner.purged = Some(upto);
        }
    }

    /// The last entry that may be purged if at least `entries` are to stay, but no more than `bytes` of them.
    pub(super) fn purgeable(&self, entries: u64, bytes: u64) -> Option<u64> {
        let inner = self.inner.lock();
        let mut kept_bytes = 0;
        let kept = inner
            .slots
            .iter()
            .rev()
            .take(entries as usize)
            .take_while(|slot| {
                kept_bytes += u64::from(slot.bytes);
                kept_bytes <= bytes
            })
            .count();
        let purged = inner.slots.len().saturating_sub(kept);
        (purged > 0).then(|| inner.first + purged as u64 - 1)
    }

    /// Like [`Tail::read`], from `start` on, but once there are about so many bytes no more.
    pub(super) fn read_some(&self, range: std::ops::Range<u64>, bytes: u64) -> io::Result<Vec<Entry>> {
        let end = {
            let inner = self.inner.lock();
            let skip = range.start.saturating_sub(inner.first) as usize;
            let mut read_bytes = 0;
            let count = inner
                .slots
                .iter()
                .skip(skip)
                .take_while(|slot| {
                    let room = read_bytes < bytes;
                    read_bytes += u64::from(slot.bytes);
                    room
                })
                .count();
            range.start.saturating_add(count as u64)
        };
        self.read(range.start..range.end.min(end))
    }

    /// The entries in a range of indexes, as far as the log has them.
    pub(super) fn read(&self, range: impl RangeBounds<u64>) -> io::Result<Vec<Entry>> {
        let found: Vec<(LogId, Lookup)> = {
            let inner = self.inner.lock();
            let start = match range.start_bound() {
                Bound::Included(start) => *start,
                Bound::Excluded(start) => start.saturating_add(1),
                Bound::Unbounded => 0,
            };
            let end = match range.end_bound() {
                Bound::Included(end) => end.saturating_add(1),
                Bound::Excluded(end) => *end,
                Bound::Unbounded => u64::MAX,
            };
            let skip = start.saturating_sub(inner.first) as usize;
            let take = end.saturating_sub(start.max(inner.first)) as usize;
            let slots = inner.slots.iter().skip(skip).take(take);
            slots.map(|slot| Ok((slot.log_id, inner.look_up(slot)?))).collect::<io::Result<_>>()?
        };
        found.into_iter().map(|(id, lookup)| load(id, lookup)).collect()
    }
}

impl Inner {
    fn push(&mut self, entry: Entry, position: Option<Position>) -> io::Result<u32> {
        let index = entry.log_id.index;
        let next = self.first + self.slots.len() as u64;
        if self.slots.is_empty() {
            self.first = index;
            self.evicted = 0;
        } else if index != next {
            return Err(io::Error::other(format!(
                "log entry {index} does not follow {}",
                next.saturating_sub(1)
            )));
        }
        let bytes = position.map_or_else(|| weight(&entry), |position| position.bytes);
        self.slots.push_back(Slot { log_id: entry.log_id, cached: Some(entry), position, bytes });
        self.cached_bytes += position.map_or(0, |position| position.bytes as usize);
        self.evict();
        Ok(bytes)
    }

    fn look_up(&self, slot: &Slot) -> io::Result<Lookup> {
        if let Some(entry) = &slot.cached {
            return Ok(Lookup::Cached(entry.clone()));
        }
        let lost =
            || io::Error::other(format!("log entry {} is neither in memory nor in a file", slot.log_id));
        let position = slot.position.ok_or_else(lost)?;
        let file = self.files.get(&position.file).ok_or_else(lost)?;
        Ok(Lookup::OnDisk(Arc::clone(file), position))
    }

    fn evict(&mut self) {
        while self.cached_bytes > CACHED_BYTES_MAX {
            let Some(slot) = self.slots.get_mut(self.evicted) else { return };
            // What is not written yet has no other place.
            let Some(position) = slot.position else { return };
            slot.cached = None;
            self.evicted += 1;
            self.cached_bytes = self.cached_bytes.saturating_sub(position.bytes as usize);
        }
    }

    fn forget(&mut self, slot: &Slot) {
        if slot.cached.is_some() {
            self.cached_bytes =
                self.cached_bytes.saturating_sub(slot.position.map_or(0, |position| position.bytes as usize));
        }
    }
}

/// About how many bytes an entry has that is not written yet.
fn weight(entry: &Entry) -> u32 {
    match &entry.payload {
        EntryPayload::Normal(proposal) => command_bytes(&proposal.command) as u32,
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    }
}

fn load(id: LogId, lookup: Lookup) -> io::Result<Entry> {
    let (file, position) = match lookup {
        Lookup::Cached(entry) => return Ok(entry),
        Lookup::OnDisk(file, position) => (file, position),
    };
    let mut bytes = vec![0; position.bytes as usize];
    file.read_exact_at(&mut bytes, position.offset)?;
    let damaged = || {
        let message = format!(
            "log file {:016x} is damaged at offset {}: log entry {id}",
            position.file, position.offset
        );
        io::Error::new(io::ErrorKind::InvalidData, message)
    };
    let found = record::find_in(&bytes, position.file, position.offset).ok_or_else(damaged)?;
    match record::decode(&found) {
        Ok(Record::Entry(entry)) if entry.log_id == id => Ok(entry),
        Ok(_) | Err(_) => Err(damaged()),
    }
}
