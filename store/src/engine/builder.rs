//! Filling new tables from a snapshot. Nothing is synced until the end; an unfinished directory is never opened.
use std::path::Path;

use rocksdb::{DB, FlushOptions, ReadOptions, WriteBatch, WriteOptions};

use super::commit::AppliedMark;
use super::version_record::VersionRecord;
use super::{EngineError, open, revision_row, table_key};
use crate::api::{Config, Revision};

const ATTEMPT: &str = "restoring";
/// Rows gather to so many bytes between writes.
const BATCH_BYTES: usize = 1 << 20;

/// Tables that nobody reads yet.
pub(crate) struct TablesBuilder {
    db: DB,
    pub(super) batch: WriteBatch,
}

impl TablesBuilder {
    /// Makes tables in an empty directory.
    pub(crate) fn create(path: &Path) -> Result<Self, EngineError> {
        Ok(Self { db: open::open(path, &Config::default())?, batch: WriteBatch::default() })
    }

    /// Takes a row as a snapshot holds it; false if it is none of those that a snapshot may hold.
    pub(crate) fn put_row(&mut self, row: &[u8], value: &[u8]) -> Result<bool, EngineError> {
        let shared = table_key::SHARED_TABLES.iter().any(|(from, to)| row >= *from && row < *to);
        if !shared || row.len() < 2 {
            return Ok(false);
        }
        let sound = match row.first() {
            Some(b'k') => {
                table_key::split_version(row).is_some_and(|(shared, _)| table_key::unescape(shared).is_some())
                    && VersionRecord::decode(value).is_some()
            }
            Some(b'r') => revision_row::is_one(row, value),
            _ => true,
        };
        if sound {
            self.batch.put(row, value);
            self.write_if_full()?;
        }
        Ok(sound)
    }

    /// Drops what came after `last`, and attaches keys to their leases anew.
    pub(crate) fn cut(&mut self, last: Revision) -> Result<(), EngineError> {
        self.write()?;
        self.each(table_key::REVISIONS, table_key::REVISIONS_END, |batch, row, _| {
            if table_key::split_revision(row).is_some_and(|(main, _)| main > last) {
                batch.delete(row);
            }
        })?;
        self.each(b"k", table_key::VERSIONS_END, |batch, row, _| {
            if table_key::split_version(row).is_some_and(|(_, revision)| revision > last) {
                batch.delete(row);
            }
        })?;
        self.attach()
    }

    /// Attaches each live key to its lease, if that exists.
    pub(crate) fn attach(&mut self) -> Result<(), EngineError> {
        self.write()?;
        self.each(b"a", b"b", |batch, row, _| batch.delete(row))?;
        let mut leases = std::collections::HashSet::new();
        self.each(b"l", b"m", |_, row, _| leases.extend(table_key::split_lease(row)))?;
        if leases.is_empty() {
            return Ok(());
        }
        let mut key_before = Vec::new();
        self.each(b"k", table_key::VERSIONS_END, |batch, row, record| {
            let Some((shared, _)) = table_key::split_version(row) else { return };
            // Newest first: the others are the past.
            if shared == key_before {
                return;
            }
            key_before.clear();
            key_before.extend_from_slice(shared);
            if let Some(VersionRecord::Put { lease, .. }) = VersionRecord::decode(record)
                && leases.contains(&lease)
                && let Some(key) = table_key::unescape(shared)
            {
                batch.put(table_key::attachment(lease, &key), b"");
            }
        })
    }

    /// Counts the live keys.
    pub(crate) fn live_keys(&mut self) -> Result<u64, EngineError> {
        self.write()?;
        let mut key_before = Vec::new();
        let mut count = 0;
        self.each(b"k", table_key::VERSIONS_END, |_, row, record| {
            let Some((shared, _)) = table_key::split_version(row) else { return };
            if shared != key_before {
                key_before.clear();
                key_before.extend_from_slice(shared);
                count += u64::from(matches!(VersionRecord::decode(record), Some(VersionRecord::Put { .. })));
            }
        })?;
        Ok(count)
    }

    /// Brings everything to disk. No entry of any log was applied to these tables.
    pub(crate) fn finish(mut self, revision: Revision, floor: Revision) -> Result<(), EngineError> {
        let mark = AppliedMark { index: None, term: 0, revision, floor };
        self.batch.put(table_key::APPLIED, mark.encode());
        self.write()?;
        let mut options = FlushOptions::default();
        options.set_wait(true);
        self.db.flush_opt(&options).map_err(EngineError::rocksdb(ATTEMPT))?;
        self.db.cancel_all_background_work(true);
        Ok(())
    }

    pub(super) fn write_if_full(&mut self) -> Result<(), EngineError> {
        if self.batch.size_in_bytes() >= BATCH_BYTES { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), EngineError> {
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        let batch = std::mem::take(&mut self.batch);
        self.db.write_opt(batch, &options).map_err(EngineError::rocksdb(ATTEMPT))
    }

    /// Looks at each row of a table as it is now, and writes what `look` adds.
    fn each(
        &mut self,
        from: &[u8],
        to: &[u8],
        mut look: impl FnMut(&mut WriteBatch, &[u8], &[u8]),
    ) -> Result<(), EngineError> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(to);
        options.set_total_order_seek(true);
        options.fill_cache(false);
        let mut write_options = WriteOptions::default();
        write_options.disable_wal(true);
        let mut batch = WriteBatch::default();
        let mut rows = self.db.raw_iterator_opt(options);
        rows.seek(from);
        while let Some((row, value)) = rows.item() {
            look(&mut batch, row, value);
            if batch.size_in_bytes() >= BATCH_BYTES {
                let full = std::mem::take(&mut batch);
                self.db.write_opt(full, &write_options).map_err(EngineError::rocksdb(ATTEMPT))?;
            }
            rows.next();
        }
        rows.status().map_err(EngineError::rocksdb(ATTEMPT))?;
        self.db.write_opt(batch, &write_options).map_err(EngineError::rocksdb(ATTEMPT))
    }
}
