//! Checksums of the tables that do not depend on how far compaction has got.
use rocksdb::{DB, ReadOptions, SnapshotWithThreadMode};

use super::version_record::VersionRecord;
use super::{EngineError, Tables, table_key};
use crate::api::{HashKv, Revision};

const ATTEMPT: &str = "hashing the tables";

/// What can be hashed was not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HashRefused {
    Compacted { floor: Revision },
    Future { current: Revision },
    Engine(EngineError),
}

impl Tables {
    /// Hashes what a reader between the floor and `at` (or now) can see.
    pub(crate) fn hash_kv(&self, at: Option<Revision>) -> Result<HashKv, HashRefused> {
        // Before the snapshot: what is current now is in it.
        let current = self.revision();
        let db = self.db().map_err(HashRefused::Engine)?;
        let snapshot = db.snapshot();
        // After the snapshot: compaction deletes only below a floor that it has raised before.
        let floor = self.floor();
        let at = match at.filter(|at| at.0 > 0) {
            Some(at) if at > current => return Err(HashRefused::Future { current }),
            Some(at) if at < floor => return Err(HashRefused::Compacted { floor }),
            Some(at) => at,
            None => current.max(floor),
        };
        let hash = hash_versions(&snapshot, floor, at).map_err(HashRefused::Engine)?;
        Ok(HashKv {
            hash,
            compact_revision: floor,
            hash_revision: at,
            revision: self.revision().max(current),
        })
    }

    /// Hashes all that is replicated, as it is now: keys, leases, attachments and alarms. For tests and tools: it stands for no revision
    /// while writes go on.
    pub(crate) fn hash_all(&self) -> Result<(u32, Revision), EngineError> {
        let db = self.db()?;
        let current = self.revision();
        let snapshot = db.snapshot();
        let mut hash = hash_versions(&snapshot, self.floor(), current.max(self.floor()))?;
        for (from, to) in [(&b"a"[..], &b"b"[..]), (b"l", b"m"), (b"x", b"y")] {
            let mut rows = rows_of(&snapshot, to.to_vec());
            rows.seek(from);
            while let Some((row, value)) = rows.item() {
                hash = crc32c::crc32c_append(crc32c::crc32c_append(hash, row), value);
                rows.next();
            }
            rows.status().map_err(EngineError::rocksdb(ATTEMPT))?;
        }
        Ok((hash, current))
    }
}

fn rows_of<'s>(
    snapshot: &'s SnapshotWithThreadMode<'_, DB>,
    upper_bound: Vec<u8>,
) -> rocksdb::DBRawIteratorWithThreadMode<'s, DB> {
    let mut options = ReadOptions::default();
    options.set_total_order_seek(true);
    options.fill_cache(false);
    options.set_readahead_size(1 << 20);
    options.set_iterate_upper_bound(upper_bound);
    snapshot.raw_iterator_opt(options)
}

/// Of each key: all versions after the floor through `at`, and the one that lives at the floor. Whatever else is there may be deleted at any
/// time. An end at the floor is left out, as in etcd.
fn hash_versions(
    snapshot: &SnapshotWithThreadMode<'_, DB>,
    floor: Revision,
    at: Revision,
) -> Result<u32, EngineError> {
    let damaged = || EngineError::damaged(ATTEMPT, "a version row is damaged");
    let mut rows = rows_of(snapshot, table_key::VERSIONS_END.to_vec());
    rows.seek(b"k");
    let mut hash = crc32c::crc32c(b"key");
    let mut current: Vec<u8> = Vec::new();
    let mut at_floor_seen = false;
    while let Some((row, record)) = rows.item() {
        let (shared, revision) = table_key::split_version(row).ok_or_else(damaged)?;
        if shared != current {
            current.clear();
            current.extend_from_slice(shared);
            at_floor_seen = false;
        }
        let wanted = if revision > at {
            false
        } else if revision > floor {
            true
        } else {
            // Newest first: the first one at or below the floor is what lives there, unless it is an end.
            let first = !at_floor_seen;
            at_floor_seen = true;
            let record = VersionRecord::decode(record).ok_or_else(damaged)?;
            first && !matches!(record, VersionRecord::Delete)
        };
        if wanted {
            hash = crc32c::crc32c_append(hash, row);
            hash = crc32c::crc32c_append(hash, &(record.len() as u32).to_le_bytes());
            hash = crc32c::crc32c_append(hash, record);
        }
        rows.next();
    }
    rows.status().map_err(EngineError::rocksdb(ATTEMPT))?;
    Ok(hash)
}
