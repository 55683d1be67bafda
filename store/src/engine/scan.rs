//! Walking a range of keys as they were at a revision.
use std::ops::ControlFlow;

use rocksdb::ReadOptions;

use super::version_record::VersionRecord;
use super::{EngineError, Tables, table_key};
use crate::api::Revision;
use crate::mvcc::{KeyRange, Visitor};

const ATTEMPT: &str = "reading a range";

/// So many versions of one key are stepped over before a seek is cheaper.
const STEPS_MAX: usize = 4;

impl Tables {
    /// Visits each key of the range that was alive at `at`, in order, until the visitor breaks. One consistent view, however long it takes.
    pub(crate) fn scan(
        &self,
        range: KeyRange<'_>,
        at: Revision,
        visit: &mut Visitor<'_>,
    ) -> Result<(), EngineError> {
        if range.is_empty() {
            return Ok(());
        }
        let damaged = || EngineError::damaged(ATTEMPT, "a version row is damaged");
        let (low, high) = table_key::version_bounds(range);
        let mut options = ReadOptions::default();
        options.set_total_order_seek(true);
        options.set_iterate_upper_bound(high);
        let db = self.db()?;
        let mut rows = db.raw_iterator_opt(options);
        rows.seek(low);
        // What the current key's rows share, to tell when the next key begins.
        let mut current: Vec<u8> = Vec::new();
        while let Some((row, record)) = rows.item() {
            let (shared, revision) = table_key::split_version(row).ok_or_else(damaged)?;
            if revision > at {
                let mut target = shared.to_vec();
                table_key::push_inverted(&mut target, at);
                rows.seek(target);
                continue;
            }
            current.clear();
            current.extend_from_slice(shared);
            let record = VersionRecord::decode(record).ok_or_else(damaged)?;
            let key = table_key::unescape(shared).ok_or_else(damaged)?;
            if let Some(row) = record.row(&key, revision)
                && visit(row) == ControlFlow::Break(())
            {
                return Ok(());
            }
            skip_older(&mut rows, &current);
        }
        rows.status().map_err(EngineError::rocksdb(ATTEMPT))
    }
}

/// Moves past the other versions of a key.
fn skip_older(rows: &mut rocksdb::DBRawIterator<'_>, shared: &[u8]) {
    for _ in 0..STEPS_MAX {
        rows.next();
        if rows.key().is_none_or(|row| !is_version_of(row, shared)) {
            return;
        }
    }
    let mut target = shared.to_vec();
    table_key::push_inverted(&mut target, Revision(0));
    target.push(0);
    rows.seek(target);
}

fn is_version_of(row: &[u8], shared: &[u8]) -> bool {
    row.len() == shared.len() + 8 && row.starts_with(shared)
}
