//! An moment in the order and the detail that etcd's format needs: by revision, version by version.
use std::ops::ControlFlow;

use rocksdb::DBRawIterator;

use super::moment::{ATTEMPT, Moment};
use super::revision_row::{Told, changes};
use super::tables::auth_of;
use super::version_record::VersionRecord;
use super::{EngineError, table_key};
use crate::api::{EventKind, LeaseId, Revision};
use crate::auth::AuthState;
use crate::mvcc::Row;

/// So many rows are stepped over before a seek is cheaper.
const STEPS_MAX: usize = 8;

/// Receives revisions, positions in them, whether a key ended there, and keys, until it breaks.
pub(crate) type RevisionVisitor<'v> = dyn FnMut(Revision, u32, bool, &[u8]) -> ControlFlow<()> + 'v;

/// Receives keys and their versions until it breaks.
pub(crate) type VersionVisitor<'v> = dyn FnMut(&[u8], MomentVersion<'_>) -> ControlFlow<()> + 'v;

/// A version of a key, or its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MomentVersion<'a> {
    pub(crate) revision: Revision,
    /// None for an end.
    pub(crate) kv: Option<Row<'a>>,
}

impl Moment<'_> {
    /// Every revision that history holds from `first` on, in order.
    pub(crate) fn revisions(
        &self,
        first: Revision,
        visit: &mut RevisionVisitor<'_>,
    ) -> Result<(), EngineError> {
        let mut problem = None;
        self.scan(&table_key::revision(first, 0), table_key::REVISIONS_END, &mut |row, value| {
            for told in changes(row, value) {
                let Ok(Told { main, sub, kind, key }) = told else {
                    problem = Some(EngineError::damaged(ATTEMPT, "a revision row is damaged"));
                    return ControlFlow::Break(());
                };
                if main >= first {
                    visit(main, sub, kind == EventKind::Delete, key)?;
                }
            }
            ControlFlow::Continue(())
        })?;
        problem.map_or(Ok(()), Err)
    }

    /// Users, roles and permissions.
    pub(crate) fn auth(&self) -> Result<AuthState, EngineError> {
        let mark = self.snapshot.get_pinned(table_key::AUTH).map_err(EngineError::rocksdb(ATTEMPT))?;
        let mut rows = Vec::new();
        for (from, to) in [(table_key::ROLES, table_key::ROLES_END), (table_key::USERS, table_key::USERS_END)]
        {
            self.scan(from, to, &mut |row, value| {
                rows.push((row.to_vec(), value.to_vec()));
                ControlFlow::Continue(())
            })?;
        }
        auth_of(mark.as_deref(), &rows)
    }

    /// Leases, with their times to live in seconds.
    pub(crate) fn leases(&self) -> Result<Vec<(LeaseId, u64)>, EngineError> {
        let mut leases = Vec::new();
        self.scan(b"l", b"m", &mut |row, value| {
            let ttl = value.first_chunk().map(|ttl| u64::from_le_bytes(*ttl));
            leases.extend(table_key::split_lease(row).zip(ttl));
            ControlFlow::Continue(())
        })?;
        Ok(leases)
    }

    /// Every version of every key, by key and newest first.
    pub(crate) fn versions(&self, visit: &mut VersionVisitor<'_>) -> Result<(), EngineError> {
        let mut problem = None;
        self.scan(b"k", table_key::VERSIONS_END, &mut |row, record| {
            let parts = table_key::split_version(row)
                .and_then(|(shared, revision)| Some((table_key::unescape(shared)?, revision)))
                .zip(VersionRecord::decode(record));
            let Some(((key, revision), record)) = parts else {
                problem = Some(EngineError::damaged(ATTEMPT, "a version row is damaged"));
                return ControlFlow::Break(());
            };
            visit(&key, MomentVersion { revision, kv: record.row(&key, revision) })
        })?;
        problem.map_or(Ok(()), Err)
    }

    /// One version of one key.
    pub(crate) fn version<T>(
        &self,
        key: &[u8],
        revision: Revision,
        look: impl FnOnce(MomentVersion<'_>) -> T,
    ) -> Result<Option<T>, EngineError> {
        let row = self
            .snapshot
            .get_pinned(table_key::version(key, revision))
            .map_err(EngineError::rocksdb(ATTEMPT))?;
        let Some(record) = row else { return Ok(None) };
        Ok(Some(look(decode(key, revision, &record)?)))
    }

    /// Many versions, in one walk over the keys. `wanted` comes by key, and newest first; `visit` gets each in that order, until it breaks.
    pub(crate) fn chosen<'w>(
        &self,
        wanted: impl Iterator<Item = (&'w [u8], Revision)>,
        visit: &mut dyn FnMut(MomentVersion<'_>) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        let mut rows = self.rows_in_order(table_key::VERSIONS_END);
        let mut target = Vec::new();
        for (key, revision) in wanted {
            table_key::version_into(key, revision, &mut target);
            go_to(&mut rows, &target);
            let Some((_, record)) = rows.item().filter(|(row, _)| *row == &target[..]) else {
                rows.status().map_err(EngineError::rocksdb(ATTEMPT))?;
                let missing = format!("revision {revision} has no version of its key");
                return Err(EngineError::damaged(ATTEMPT, missing));
            };
            if visit(decode(key, revision, record)?).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// Moves to a row that lies ahead, or to the first after it: a few steps are cheaper than a seek.
fn go_to(rows: &mut DBRawIterator<'_>, target: &[u8]) {
    for _ in 0..STEPS_MAX {
        match rows.key() {
            Some(row) if row < target => rows.next(),
            Some(_) => return,
            None => break,
        }
    }
    if rows.key().is_none_or(|row| row < target) {
        rows.seek(target);
    }
}

fn decode<'r>(key: &'r [u8], revision: Revision, record: &'r [u8]) -> Result<MomentVersion<'r>, EngineError> {
    let record = VersionRecord::decode(record)
        .ok_or_else(|| EngineError::damaged(ATTEMPT, "a version row is damaged"))?;
    Ok(MomentVersion { revision, kv: record.row(key, revision) })
}
