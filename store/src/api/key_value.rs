//! A stored key with its value and history, and a change to one.
use bytes::Bytes;

use super::{LeaseId, Revision};

/// One version of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The value; empty in answers to `keys_only` requests and in delete events.
    pub value: Bytes,
    /// The revision of the write that created the key (since it was last deleted).
    pub create_revision: Revision,
    /// The revision of the write that made this version.
    pub mod_revision: Revision,
    /// How many writes the key has seen since its creation, counting from 1; 0 in delete events.
    pub version: i64,
    /// The lease that the key is attached to, or [`LeaseId::NONE`].
    pub lease: LeaseId,
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// The key was created or got a new value.
    Put,
    /// The key was deleted, by a request or by the end of its lease.
    Delete,
}

/// One change to one key, as seen by a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The new version; for a delete only `key` and `mod_revision` (that of the delete) are set.
    pub kv: KeyValue,
    /// The version before, if the watch asked for it and it is not compacted.
    pub prev: Option<KeyValue>,
}
