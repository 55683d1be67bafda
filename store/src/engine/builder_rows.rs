//! New tables from another store's data, row by row.
use super::version_record::VersionRecord;
use super::{EngineError, TablesBuilder, table_key};
use crate::api::{EventKind, KeyValue, LeaseId};
use crate::auth::{AuthState, encode_mark, encode_role, encode_user};

impl TablesBuilder {
    /// Takes a version of a key, or its end, with its place in history.
    pub(crate) fn put_version(
        &mut self,
        kind: EventKind,
        kv: &KeyValue,
        sub: u32,
    ) -> Result<(), EngineError> {
        let mut event = vec![match kind {
            EventKind::Put => 1,
            EventKind::Delete => 2,
        }];
        event.extend_from_slice(&kv.key);
        self.batch.put(table_key::revision(kv.mod_revision, sub), event);
        let mut record = Vec::new();
        VersionRecord::encode_into(kind, kv, &mut record);
        self.batch.put(table_key::version(&kv.key, kv.mod_revision), record);
        self.write_if_full()
    }

    pub(crate) fn put_lease(&mut self, id: LeaseId, ttl_seconds: u64) -> Result<(), EngineError> {
        self.batch.put(table_key::lease(id), ttl_seconds.to_le_bytes());
        self.write_if_full()
    }

    pub(crate) fn put_auth(&mut self, state: &AuthState) -> Result<(), EngineError> {
        self.batch.put(table_key::AUTH, encode_mark(state));
        for (name, user) in state.users() {
            self.batch.put(table_key::user(name), encode_user(user));
        }
        for (name, role) in state.roles() {
            self.batch.put(table_key::role(name), encode_role(role));
        }
        self.write_if_full()
    }
}
