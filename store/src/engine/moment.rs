//! The rows of the tables as they were at one moment: what a snapshot holds. Taking one holds up nobody.
use std::ops::ControlFlow;

use rocksdb::{DB, DBRawIterator, ReadOptions, SnapshotWithThreadMode};

use super::commit::AppliedMark;
use super::{EngineError, Tables, revision_row, table_key};
use crate::mvcc::KeyRange;

pub(super) const ATTEMPT: &str = "reading a snapshot";
const READAHEAD_BYTES: usize = 2 << 20;

/// Receives rows until it breaks.
pub(crate) type RowVisitor<'v> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'v;

/// One moment of the tables. Versions that are compacted meanwhile stay in it; their space returns when it is dropped.
pub(crate) struct Moment<'t> {
    pub(super) snapshot: SnapshotWithThreadMode<'t, DB>,
    mark: AppliedMark,
}

impl Tables {
    /// Looks at the tables as they are now, for as long as `look` takes.
    pub(crate) fn with_moment<T>(
        &self,
        look: impl FnOnce(&Moment<'_>) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let db = self.db()?;
        let snapshot = db.snapshot();
        let mark = snapshot.get(table_key::APPLIED).map_err(EngineError::rocksdb(ATTEMPT))?;
        let mark = match mark {
            None => AppliedMark::default(),
            Some(bytes) => AppliedMark::decode(&bytes)
                .ok_or_else(|| EngineError::damaged(ATTEMPT, "the applied mark is damaged"))?,
        };
        look(&Moment { snapshot, mark })
    }
}

impl Moment<'_> {
    pub(crate) fn mark(&self) -> AppliedMark {
        self.mark
    }

    /// Every row that belongs to the store rather than to one member; with a range, only what concerns its keys.
    pub(crate) fn rows(
        &self,
        range: Option<KeyRange<'_>>,
        visit: &mut RowVisitor<'_>,
    ) -> Result<(), EngineError> {
        let within = |key: &[u8]| range.is_none_or(|range| range.contains(key));
        let damaged = || EngineError::damaged(ATTEMPT, "a row is damaged");
        for (from, to) in table_key::SHARED_TABLES {
            let mut flow = ControlFlow::Continue(());
            let mut problem = None;
            self.scan(from, to, &mut |row, value| {
                let wanted = match row.first() {
                    Some(b'k') => {
                        let parts = table_key::split_version(row);
                        if let Some(key) = parts.and_then(|(shared, _)| table_key::unescape(shared)) {
                            within(&key)
                        } else {
                            problem = Some(damaged());
                            return ControlFlow::Break(());
                        }
                    }
                    Some(b'r') => {
                        // One row for each change, whatever the tables have: a snapshot is read by other programs.
                        let is_whole = revision_row::split(row, value, |told, row, value| {
                            if flow.is_continue() && within(told.key) {
                                flow = visit(row, value);
                            }
                        });
                        if !is_whole {
                            problem = Some(damaged());
                            return ControlFlow::Break(());
                        }
                        return flow;
                    }
                    Some(b'a') => table_key::split_attachment(row).is_some_and(|(_, key)| within(key)),
                    Some(b'l') => true,
                    // Users and roles are the whole store's.
                    _ => range.is_none(),
                };
                if wanted {
                    flow = visit(row, value);
                }
                flow
            })?;
            if let Some(problem) = problem {
                return Err(problem);
            }
            if flow.is_break() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// All rows before `to`, for walks over many.
    pub(super) fn rows_in_order(&self, to: &[u8]) -> DBRawIterator<'_> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(to);
        options.set_total_order_seek(true);
        options.fill_cache(false);
        options.set_readahead_size(READAHEAD_BYTES);
        self.snapshot.raw_iterator_opt(options)
    }

    pub(super) fn scan(&self, from: &[u8], to: &[u8], visit: &mut RowVisitor<'_>) -> Result<(), EngineError> {
        let mut rows = self.rows_in_order(to);
        rows.seek(from);
        while let Some((row, value)) = rows.item() {
            if visit(row, value).is_break() {
                return Ok(());
            }
            rows.next();
        }
        rows.status().map_err(EngineError::rocksdb(ATTEMPT))
    }
}
