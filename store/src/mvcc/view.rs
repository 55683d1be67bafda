//! What a decision may look at.
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

use super::{Before, KeyRange};
use crate::api::{Alarm, KeyValue, LeaseId, Revision};
use crate::auth::AuthState;

/// The tables could not be read. Nothing can be decided; the store stops.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ViewError(pub(crate) String);

/// A key and value that are only lent: the visitor copies what it keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
    pub(crate) create_revision: Revision,
    pub(crate) mod_revision: Revision,
    pub(crate) version: i64,
    pub(crate) lease: LeaseId,
}

impl<'a> Row<'a> {
    pub(crate) fn of(kv: &'a KeyValue) -> Self {
        Self {
            key: &kv.key,
            value: &kv.value,
            create_revision: kv.create_revision,
            mod_revision: kv.mod_revision,
            version: kv.version,
            lease: kv.lease,
        }
    }

    /// An owned copy, with or without the value.
    pub(crate) fn to_key_value(self, keys_only: bool) -> KeyValue {
        KeyValue {
            key: Bytes::copy_from_slice(self.key),
            value: if keys_only { Bytes::new() } else { Bytes::copy_from_slice(self.value) },
            create_revision: self.create_revision,
            mod_revision: self.mod_revision,
            version: self.version,
            lease: self.lease,
        }
    }
}

/// Receives rows in key order until it breaks.
pub(crate) type Visitor<'v> = dyn FnMut(Row<'_>) -> ControlFlow<()> + 'v;

/// The state before a command.
pub(crate) trait View {
    /// The revision of the last write.
    fn revision(&self) -> Revision;

    /// The compaction floor, or revision 0.
    fn floor(&self) -> Revision;

    /// The live version of a key.
    fn latest(&self, key: &Bytes) -> Result<Option<KeyValue>, ViewError>;

    /// What a change of a key replaces: as [`View::latest`], but perhaps without the value.
    fn before(&self, key: &Bytes) -> Result<Option<Before>, ViewError> {
        Ok(self.latest(key)?.map(Before::from))
    }

    /// Visits the keys in a range as they are now.
    fn scan_latest(&self, range: KeyRange<'_>, visit: &mut Visitor<'_>) -> Result<(), ViewError>;

    /// Visits the keys in a range as they were at a revision between floor and now.
    fn scan_at(&self, range: KeyRange<'_>, at: Revision, visit: &mut Visitor<'_>) -> Result<(), ViewError>;

    /// The alarms that are raised.
    fn alarms(&self) -> &BTreeSet<Alarm>;

    /// Whether a lease exists.
    fn has_lease(&self, id: LeaseId) -> bool;

    /// How many leases exist.
    fn lease_count(&self) -> usize;

    /// The keys attached to a lease, in order.
    fn lease_keys(&self, id: LeaseId) -> Vec<Bytes>;

    /// Users, roles and permissions.
    fn auth(&self) -> Arc<AuthState>;
}
