//! What a key was before a change.
use bytes::Bytes;

use crate::api::{KeyValue, LeaseId, Revision};

/// The version before a change, whose key is the change's. Its value is the larger part of it, and seldom wanted: only by watchers and callers that
/// ask for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Before {
    pub(crate) create_revision: Revision,
    pub(crate) mod_revision: Revision,
    pub(crate) version: i64,
    pub(crate) lease: LeaseId,
    /// None if it was not looked for: it is in the tables.
    pub(crate) value: Option<Bytes>,
}

impl Before {
    /// All of it, if its value is known.
    pub(crate) fn key_value(&self, key: &Bytes) -> Option<KeyValue> {
        Some(KeyValue { key: key.clone(), value: self.value.clone()?, ..self.without_value() })
    }

    /// It without key and value.
    pub(crate) fn without_value(&self) -> KeyValue {
        KeyValue {
            key: Bytes::new(),
            value: Bytes::new(),
            create_revision: self.create_revision,
            mod_revision: self.mod_revision,
            version: self.version,
            lease: self.lease,
        }
    }
}

impl From<KeyValue> for Before {
    fn from(kv: KeyValue) -> Self {
        Self {
            create_revision: kv.create_revision,
            mod_revision: kv.mod_revision,
            version: kv.version,
            lease: kv.lease,
            value: Some(kv.value),
        }
    }
}
