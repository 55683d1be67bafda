//! One group of applied commands becomes one atomic, unsynced write.
use rocksdb::{WriteBatch, WriteOptions};

use super::version_record::VersionRecord;
use super::{EngineError, Tables, revision_row, table_key};
use crate::api::Revision;
use crate::auth::{AuthRow, encode_mark, encode_role, encode_user};
use crate::mvcc::{AlarmEffect, Change, Effects, LeaseEffect};

/// How far the log has been applied, and what the store's counters are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AppliedMark {
    /// The last applied entry; none if nothing was applied.
    pub(crate) index: Option<u64>,
    pub(crate) term: u64,
    pub(crate) revision: Revision,
    pub(crate) floor: Revision,
}

impl Default for AppliedMark {
    fn default() -> Self {
        Self { index: None, term: 0, revision: Revision::INITIAL, floor: Revision(0) }
    }
}

impl AppliedMark {
    /// The row that says it. Tables with it may have rows that tell of many revisions: versions 3 and 4.
    pub(super) fn encode(self) -> Vec<u8> {
        self.encode_as(if self.index.is_some() { 3 } else { 4 })
    }

    /// The row for tables whose rows tell of one change each, as every program reads them.
    pub(super) fn encode_plain(self) -> Vec<u8> {
        self.encode_as(if self.index.is_some() { 1 } else { 2 })
    }

    fn encode_as(self, version: u8) -> Vec<u8> {
        let mut out = Vec::with_capacity(33);
        // Even versions: restored tables have a revision, but nothing of this log in them.
        out.push(version);
        for value in [self.index.unwrap_or(0), self.term, self.revision.0 as u64, self.floor.0 as u64] {
            out.extend_from_slice(&value.to_le_bytes());
        }
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        let applied = match *version {
            1 | 3 => true,
            2 | 4 => false,
            _ => return None,
        };
        let (index, rest) = rest.split_first_chunk()?;
        let (term, rest) = rest.split_first_chunk()?;
        let (revision, rest) = rest.split_first_chunk()?;
        let floor = rest.first_chunk()?;
        Some(Self {
            index: applied.then_some(u64::from_le_bytes(*index)),
            term: u64::from_le_bytes(*term),
            revision: Revision(i64::from_le_bytes(*revision)),
            floor: Revision(i64::from_le_bytes(*floor)),
        })
    }
}

/// The rows of a group, gathered until [`Group::write`].
pub(crate) struct Group {
    batch: WriteBatch,
    /// Used again for each row.
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Group {
    pub(crate) fn new() -> Self {
        Self { batch: WriteBatch::default(), key: Vec::new(), value: Vec::new() }
    }

    /// Adds what commands do, in order.
    ///
    /// The rows of one table come together, and where many keys change, these are in order: where RocksDB puts a row is found the faster the
    /// closer it is to the row before.
    pub(crate) fn add_all(&mut self, all: &[Effects]) {
        revision_row::Writer::default().add_all(all, &mut self.batch);
        let mut versions: Vec<&Change> = all.iter().flat_map(|effects| &effects.changes).collect();
        versions.sort_unstable_by(|a, b| {
            a.kv.key.cmp(&b.kv.key).then_with(|| b.kv.mod_revision.cmp(&a.kv.mod_revision))
        });
        for change in versions {
            table_key::version_into(&change.kv.key, change.kv.mod_revision, &mut self.key);
            VersionRecord::encode_into(change.kind, &change.kv, &mut self.value);
            self.batch.put(&self.key, &self.value);
        }
        for effects in all {
            self.add_rest(effects);
        }
    }

    /// Adds what a command does beside changing keys.
    fn add_rest(&mut self, effects: &Effects) {
        for change in &effects.changes {
            let kv = &change.kv;
            let before = change.prev.as_ref().map(|prev| prev.lease).unwrap_or_default();
            if before != kv.lease {
                if !before.is_none() {
                    self.batch.delete(table_key::attachment(before, &kv.key));
                }
                if !kv.lease.is_none() {
                    self.batch.put(table_key::attachment(kv.lease, &kv.key), b"");
                }
            }
        }
        match effects.lease {
            Some(LeaseEffect::Grant { id, ttl_seconds }) => {
                self.batch.put(table_key::lease(id), ttl_seconds.to_le_bytes());
            }
            Some(LeaseEffect::Revoke(id)) => self.batch.delete(table_key::lease(id)),
            None => {}
        }
        match effects.alarm {
            Some(AlarmEffect { alarm, raise: true }) => self.batch.put(table_key::alarm(alarm), b""),
            Some(AlarmEffect { alarm, raise: false }) => self.batch.delete(table_key::alarm(alarm)),
            None => {}
        }
        let Some(auth) = &effects.auth else { return };
        self.batch.put(table_key::AUTH, encode_mark(&auth.state));
        for row in &auth.rows {
            match row {
                AuthRow::User(name, Some(user)) => self.batch.put(table_key::user(name), encode_user(user)),
                AuthRow::User(name, None) => self.batch.delete(table_key::user(name)),
                AuthRow::Role(name, Some(role)) => self.batch.put(table_key::role(name), encode_role(role)),
                AuthRow::Role(name, None) => self.batch.delete(table_key::role(name)),
            }
        }
    }

    pub(crate) fn set_membership(&mut self, membership: &[u8]) {
        self.batch.put(table_key::MEMBERSHIP, membership);
    }

    /// Writes the group and how far it goes, all or nothing. On an error nothing was written, and the same group may be gathered again.
    pub(crate) fn write(mut self, tables: &Tables, mark: AppliedMark) -> Result<(), EngineError> {
        self.batch.put(table_key::APPLIED, mark.encode());
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        tables.db()?.write_opt(self.batch, &options).map_err(EngineError::rocksdb("writing what was applied"))
    }
}
