//! Reading past revisions in their order, for watchers that the ring in memory no longer serves.
use std::ops::RangeInclusive;

use bytes::Bytes;
use rocksdb::{DB, ReadOptions, SnapshotWithThreadMode};

use super::revision_row::{Told, changes};
use super::version_record::VersionRecord;
use super::{EngineError, Tables, table_key};
use crate::api::{Event, EventKind, KeyValue, Revision, WatchBatch};
use crate::mvcc::KeyRange;

const ATTEMPT: &str = "reading history";

/// One look at history is no larger than this, so that nobody holds a thread or memory for long.
const PAGE_REVISIONS_MAX: usize = 512;
const PAGE_CHANGES_MAX: usize = 8192;
const PAGE_BYTES_MAX: usize = 2 << 20;

/// What to look for.
#[derive(Clone, Debug)]
pub(crate) struct HistoryRequest {
    pub(crate) key: Bytes,
    pub(crate) range_end: Option<Bytes>,
    pub(crate) revisions: RangeInclusive<i64>,
    pub(crate) prev_kv: bool,
    pub(crate) puts: bool,
    pub(crate) deletes: bool,
}

/// What was found, and where to go on.
#[derive(Clone, Debug)]
pub(crate) enum HistoryPage {
    /// Whole revisions with matching events; everything before `next` has been looked at.
    Found { batches: Vec<WatchBatch>, next: Revision },
    /// The first revision asked for is gone.
    Compacted { floor: Revision },
}

impl Tables {
    /// Reads a page of history from the first revision on.
    pub(crate) fn history(&self, request: &HistoryRequest) -> Result<HistoryPage, EngineError> {
        let db = self.db()?;
        let snapshot = db.snapshot();
        // Compaction deletes only after it has raised the floor: what the snapshot lacks shows here.
        let first = Revision(*request.revisions.start());
        if first < self.floor() {
            return Ok(HistoryPage::Compacted { floor: self.floor() });
        }
        Reader { snapshot: &snapshot, request, batches: Vec::new(), bytes: 0 }.read()
    }
}

struct Reader<'r> {
    snapshot: &'r SnapshotWithThreadMode<'r, DB>,
    request: &'r HistoryRequest,
    batches: Vec<WatchBatch>,
    bytes: usize,
}

impl Reader<'_> {
    fn read(mut self) -> Result<HistoryPage, EngineError> {
        let damaged = || EngineError::damaged(ATTEMPT, "a revision row is damaged");
        let range = KeyRange::new(&self.request.key, self.request.range_end.as_ref());
        let (first, last) =
            (Revision(*self.request.revisions.start()), Revision(*self.request.revisions.end()));
        let mut options = ReadOptions::default();
        options.set_total_order_seek(true);
        options.set_iterate_upper_bound(table_key::REVISIONS_END);
        let mut rows = self.snapshot.raw_iterator_opt(options);
        rows.seek(table_key::revision(first, 0));
        let mut changes_seen = 0_usize;
        let mut at = Revision(0);
        'rows: while let Some((row, value)) = rows.item() {
            for told in changes(row, value) {
                let Told { main, kind, key, .. } = told.map_err(|_damaged| damaged())?;
                if main < first {
                    continue;
                }
                if main > last {
                    break 'rows;
                }
                // A page ends only between revisions: a batch is all of one.
                if main != at && self.is_full(changes_seen) {
                    return Ok(HistoryPage::Found { batches: self.batches, next: main });
                }
                at = main;
                changes_seen += 1;
                let wanted = match kind {
                    EventKind::Put => self.request.puts,
                    EventKind::Delete => self.request.deletes,
                };
                if wanted && range.contains(key) {
                    self.push(main, kind, key)?;
                }
            }
            rows.next();
        }
        rows.status().map_err(EngineError::rocksdb(ATTEMPT))?;
        Ok(HistoryPage::Found { batches: self.batches, next: last.next() })
    }

    fn is_full(&self, changes_seen: usize) -> bool {
        self.batches.len() >= PAGE_REVISIONS_MAX
            || self.bytes >= PAGE_BYTES_MAX
            || changes_seen >= PAGE_CHANGES_MAX
    }

    fn push(&mut self, revision: Revision, kind: EventKind, key: &[u8]) -> Result<(), EngineError> {
        let missing =
            || EngineError::damaged(ATTEMPT, format!("revision {revision} has no version of its key"));
        let kv = match kind {
            EventKind::Delete => {
                KeyValue { key: Bytes::copy_from_slice(key), mod_revision: revision, ..KeyValue::default() }
            }
            EventKind::Put => {
                self.version(key, revision)?.filter(|kv| kv.mod_revision == revision).ok_or_else(missing)?
            }
        };
        let prev = if self.request.prev_kv { self.version(key, revision.previous())? } else { None };
        self.bytes +=
            kv.key.len() + kv.value.len() + prev.as_ref().map_or(0, |prev| prev.key.len() + prev.value.len());
        let event = Event { kind, kv, prev };
        match self.batches.last_mut() {
            Some(batch) if batch.revision == revision => batch.events.push(event),
            _ => self.batches.push(WatchBatch { revision, events: vec![event] }),
        }
        Ok(())
    }

    /// The version of a key at a revision; none if it did not live then, or is compacted.
    fn version(&self, key: &[u8], at: Revision) -> Result<Option<KeyValue>, EngineError> {
        let damaged = || EngineError::damaged(ATTEMPT, "a version row is damaged");
        let mut options = ReadOptions::default();
        options.set_prefix_same_as_start(true);
        let mut rows = self.snapshot.raw_iterator_opt(options);
        rows.seek(table_key::version(key, at));
        let Some((row, record)) = rows.item() else {
            rows.status().map_err(EngineError::rocksdb(ATTEMPT))?;
            return Ok(None);
        };
        let (_, revision) = table_key::split_version(row).ok_or_else(damaged)?;
        let record = VersionRecord::decode(record).ok_or_else(damaged)?;
        Ok(record.row(key, revision).map(|row| row.to_key_value(false)))
    }
}
