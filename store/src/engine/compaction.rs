//! Giving back the space of versions below the floor, a little at a time, while everything else goes on.
//!
//! The revision rows at or below the floor tell of versions; whatever version of such a key is next older is superseded and goes. The
//! versions older than that one went when *it* was visited, so one seek and one delete per change are enough. The revision rows
//! themselves go at the end, all in one range deletion; one that tells of the floor and of what was before it stays.
use std::sync::atomic::Ordering;

use rocksdb::{
    BottommostLevelCompaction, CompactOptions, DB, DBRawIterator, ReadOptions, WriteBatch, WriteOptions,
};

use super::revision_row::{Told, changes};
use super::version_record::VersionRecord;
use super::{EngineError, Tables, table_key};
use crate::api::Revision;

const ATTEMPT: &str = "compacting";

/// So many changes are handled in one step.
const STEP_CHANGES: usize = 256;

/// Below this RocksDB is left to find out about deleted rows by itself.
const RECLAIM_BYTES_MIN: u64 = 1 << 20;

/// So many files are rewritten without a look at whether the store is closing.
const PIECE_FILES: usize = 4;

/// How far a step came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CompactionStep {
    /// There is more below the floor.
    More,
    /// Nothing is left to do.
    Done,
}

impl Tables {
    /// Does one step towards the floor. Safe at any moment, also after a crash: it starts where the last written step ended.
    pub(crate) fn compact_step(&self) -> Result<CompactionStep, EngineError> {
        let damaged = || EngineError::damaged(ATTEMPT, "a revision row is damaged");
        let floor = self.floor();
        let db = self.db()?;
        let done = compacted_to(&db)?;
        if done.0 >= floor {
            return Ok(CompactionStep::Done);
        }
        let mut batch = WriteBatch::default();
        let mut rows = revision_rows(&db);
        // Rows of the last floor itself were kept then; they go now.
        rows.seek(table_key::revision(done.0, done.1));
        let mut of_one_key = ReadOptions::default();
        of_one_key.set_prefix_same_as_start(true);
        of_one_key.fill_cache(false);
        let mut versions = db.raw_iterator_opt(of_one_key);
        let mut handled = 0_usize;
        let mut garbage = 0;
        // Where the next step begins, if there is more to do.
        let mut position = None;
        'rows: while let Some((row, value)) = rows.item() {
            for told in changes(row, value) {
                let Told { main, sub, key, .. } = told.map_err(|_damaged| damaged())?;
                if (main, sub) < done {
                    continue;
                }
                if main > floor {
                    break 'rows;
                }
                if handled >= STEP_CHANGES {
                    position = Some((main, sub));
                    break 'rows;
                }
                handled += 1;
                garbage += drop_superseded(&mut batch, &mut versions, key, main, floor)?;
            }
            rows.next();
        }
        rows.status().map_err(EngineError::rocksdb(ATTEMPT))?;
        let finished = position.is_none();
        // The changes of the floor itself are visited again by the next compaction, which may delete their rows.
        let (main, sub) = position.unwrap_or((floor, 0));
        if finished {
            batch.delete_range(table_key::revision(Revision(0), 0), table_key::revision(floor, 0));
        }
        batch.put(table_key::COMPACTED, table_key::revision(main, sub));
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        db.write_opt(batch, &options).map_err(EngineError::rocksdb(ATTEMPT))?;
        self.garbage.fetch_add(garbage, Ordering::Relaxed);
        Ok(if finished { CompactionStep::Done } else { CompactionStep::More })
    }

    /// Has RocksDB rewrite the tables without what was deleted, if that is worth it: a quarter of them. It goes on beside everything else.
    pub(crate) fn reclaim(&self, is_ending: &dyn Fn() -> bool) -> Result<(), EngineError> {
        let garbage = self.garbage.load(Ordering::Relaxed);
        if garbage < RECLAIM_BYTES_MIN.max(self.size_bytes() / 4) {
            return Ok(());
        }
        let mut options = CompactOptions::default();
        options.set_exclusive_manual_compaction(false);
        options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        // Piece by piece, so that closing the store never waits long.
        let mut from = b"a".to_vec();
        for to in self.pieces()? {
            if is_ending() {
                return Ok(()); // RocksDB gets at the rest by itself
            }
            self.db()?.compact_range_opt(Some(&from), Some(&to), &options);
            from = to;
        }
        self.garbage.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// Row keys between which there are a few files each.
    fn pieces(&self) -> Result<Vec<Vec<u8>>, EngineError> {
        let files = self.db()?.live_files().map_err(EngineError::rocksdb(ATTEMPT))?;
        let mut starts: Vec<Vec<u8>> = files.into_iter().filter_map(|file| file.start_key).collect();
        starts.sort();
        let mut pieces: Vec<Vec<u8>> = starts.into_iter().skip(PIECE_FILES).step_by(PIECE_FILES).collect();
        pieces.push(b"z".to_vec());
        Ok(pieces)
    }
}

/// Every row before this revision and position in it has been compacted.
fn compacted_to(db: &DB) -> Result<(Revision, u32), EngineError> {
    let bytes = db.get_pinned(table_key::COMPACTED).map_err(EngineError::rocksdb(ATTEMPT))?;
    let Some(bytes) = bytes else { return Ok((Revision(0), 0)) };
    table_key::split_revision(&bytes).ok_or_else(|| EngineError::damaged(ATTEMPT, "the position is damaged"))
}

fn revision_rows(db: &DB) -> DBRawIterator<'_> {
    let mut options = ReadOptions::default();
    options.set_total_order_seek(true);
    options.fill_cache(false);
    options.set_iterate_upper_bound(table_key::REVISIONS_END);
    db.raw_iterator_opt(options)
}

/// Deletes the version before the one that `main` made, and an end below the floor itself. Returns how many bytes that gives back.
fn drop_superseded(
    batch: &mut WriteBatch,
    versions: &mut DBRawIterator<'_>,
    key: &[u8],
    main: Revision,
    floor: Revision,
) -> Result<u64, EngineError> {
    let mut garbage = 0;
    let shared = table_key::versions_of(key);
    let own = table_key::version(key, main);
    versions.seek(&own);
    if let Some((row, record)) = versions.item()
        && row == &own[..]
    {
        // An end at the floor stays: a watch may start there.
        if main < floor && matches!(VersionRecord::decode(record), Some(VersionRecord::Delete)) {
            batch.delete(row);
            garbage += row.len() as u64;
        }
        versions.next();
    }
    if let Some((row, record)) = versions.item()
        && row.len() == shared.len() + 8
        && row.starts_with(&shared)
    {
        batch.delete(row);
        garbage += (row.len() + record.len()) as u64;
    }
    versions.status().map_err(EngineError::rocksdb(ATTEMPT))?;
    Ok(garbage)
}
