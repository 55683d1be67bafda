//! An moment in the order and the detail that etcd's format needs: by revision, version by version.
use std::ops::ControlFlow;

use super::moment::{ATTEMPT, Moment};
use super::tables::auth_of;
use super::version_record::VersionRecord;
use super::{EngineError, table_key};
use crate::api::{LeaseId, Revision};
use crate::auth::AuthState;
use crate::mvcc::Row;

/// Receives revisions, positions in them and keys until it breaks.
pub(crate) type RevisionVisitor<'v> = dyn FnMut(Revision, u32, &[u8]) -> ControlFlow<()> + 'v;

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
    /// Every revision that history holds from `first` on, in order: revision, position in it, and the key that was written.
    pub(crate) fn revisions(
        &self,
        first: Revision,
        visit: &mut RevisionVisitor<'_>,
    ) -> Result<(), EngineError> {
        self.scan(
            &table_key::revision(first, 0),
            b"s",
            &mut |row, event| match table_key::split_revision(row).zip(event.split_first()) {
                Some(((main, sub), (_, key))) => visit(main, sub, key),
                None => ControlFlow::Continue(()),
            },
        )
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
        let record = VersionRecord::decode(&record)
            .ok_or_else(|| EngineError::damaged(ATTEMPT, "a version row is damaged"))?;
        Ok(Some(look(MomentVersion { revision, kv: record.row(key, revision) })))
    }
}
