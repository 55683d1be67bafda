//! Single writes: put and delete range.
use bytes::Bytes;

use super::{KeyValue, LeaseId, Revision};

/// Sets one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PutRequest {
    /// The key; not empty.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
    /// The lease that ends the key; [`LeaseId::NONE`] detaches it from the lease that it had.
    pub lease: LeaseId,
    /// Return the version before.
    pub prev_kv: bool,
    /// Keep the key's value (`value` must be empty); the key must exist.
    pub ignore_value: bool,
    /// Keep the key's lease (`lease` must be none); the key must exist.
    pub ignore_lease: bool,
}

impl PutRequest {
    /// A put without lease.
    pub fn new(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self { key: key.into(), value: value.into(), ..Self::default() }
    }

    /// Attaches the key to a lease.
    #[must_use]
    pub fn with_lease(mut self, lease: LeaseId) -> Self {
        self.lease = lease;
        self
    }
}

/// The answer to a [`PutRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PutResponse {
    /// The revision of this write.
    pub revision: Revision,
    /// The version before, if it was asked for and there was one.
    pub prev: Option<KeyValue>,
}

/// Deletes one key or a range of keys (see [`RangeRequest`](crate::RangeRequest) for `range_end`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteRangeRequest {
    /// The first key (or the only one).
    pub key: Bytes,
    /// The exclusive end; none deletes one key.
    pub range_end: Option<Bytes>,
    /// Return the versions that were deleted.
    pub prev_kv: bool,
}

impl DeleteRangeRequest {
    /// One key.
    pub fn key(key: impl Into<Bytes>) -> Self {
        Self { key: key.into(), ..Self::default() }
    }

    /// All keys that start with `prefix`.
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let key = prefix.into();
        let range_end = Some(super::prefix_end(&key));
        Self { key, range_end, prev_kv: false }
    }
}

/// The answer to a [`DeleteRangeRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteRangeResponse {
    /// The store's revision after the request; unchanged if nothing matched.
    pub revision: Revision,
    /// How many keys were deleted.
    pub deleted: u64,
    /// The versions that were deleted, in key order, if they were asked for.
    pub prev: Vec<KeyValue>,
}
