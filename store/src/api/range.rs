//! Reading keys.
use bytes::Bytes;

use super::{KeyValue, Revision};

/// Which keys to read, at which point of history.
///
/// Keys are ordered as bytes. `range_end` is exclusive; the single byte `\0` as `range_end` means "all keys from `key` on", as in etcd.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "independent choices, as in etcd's request")]
pub struct RangeRequest {
    /// The first key (or the only one, if there is no `range_end`).
    pub key: Bytes,
    /// The first key that is no longer meant; none reads one key.
    pub range_end: Option<Bytes>,
    /// At most so many keys in the answer; 0 means all. `more` tells whether there were more.
    pub limit: usize,
    /// Read the store as it was at this revision; none means now.
    pub revision: Option<Revision>,
    /// Leave the values out.
    pub keys_only: bool,
    /// Only count: `kvs` stays empty.
    pub count_only: bool,
    /// The order of the answer; none is by key, ascending. `limit` counts in this order. An order other than by key ascending reads the
    /// whole range first.
    pub order: Option<RangeOrder>,
    /// Leave out keys outside of these revisions; `count` counts them all the same, as in etcd.
    pub bounds: RevisionBounds,
    /// Do not count beyond the keys returned: `count` is then the number of `kvs`. A page of a large range costs as much as the page, not as
    /// much as the range.
    pub uncounted: bool,
    /// Read this member's own state, which may lag behind the cluster's, and ask no other member.
    pub serializable: bool,
}

impl RangeRequest {
    /// One key.
    pub fn key(key: impl Into<Bytes>) -> Self {
        Self { key: key.into(), ..Self::default() }
    }

    /// All keys that start with `prefix`; an empty prefix means all keys.
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let key = prefix.into();
        let range_end = Some(prefix_end(&key));
        Self { key, range_end, ..Self::default() }
    }

    /// The keys from `key` up to but not including `range_end`.
    pub fn range(key: impl Into<Bytes>, range_end: impl Into<Bytes>) -> Self {
        Self { key: key.into(), range_end: Some(range_end.into()), ..Self::default() }
    }

    /// Every key.
    pub fn all() -> Self {
        Self::prefix(Bytes::new())
    }
}

/// What the keys of an answer are ordered by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SortTarget {
    /// The key, as bytes.
    #[default]
    Key,
    /// The version.
    Version,
    /// The create revision.
    Create,
    /// The mod revision.
    Mod,
    /// The value, as bytes.
    Value,
}

/// An order of keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RangeOrder {
    /// By what.
    pub target: SortTarget,
    /// The greatest first.
    pub descending: bool,
}

/// Bounds on the revisions of keys, all inclusive; 0 is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RevisionBounds {
    /// The lowest mod revision.
    pub mod_min: Revision,
    /// The highest mod revision.
    pub mod_max: Revision,
    /// The lowest create revision.
    pub create_min: Revision,
    /// The highest create revision.
    pub create_max: Revision,
}

impl RevisionBounds {
    /// Whether nothing is left out.
    pub fn is_none(self) -> bool {
        self == Self::default()
    }

    /// Whether a key with these revisions is inside.
    pub fn contain(self, create: Revision, modified: Revision) -> bool {
        let inside = |value: Revision, min: Revision, max: Revision| {
            value >= min && (max == Revision(0) || value <= max)
        };
        inside(modified, self.mod_min, self.mod_max) && inside(create, self.create_min, self.create_max)
    }
}

/// The answer to a [`RangeRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeResponse {
    /// The store's current revision when it answered (not the revision that was asked for).
    pub revision: Revision,
    /// The keys, in order.
    pub kvs: Vec<KeyValue>,
    /// Whether `limit` cut the answer short.
    pub more: bool,
    /// How many keys match, whatever the limit.
    pub count: u64,
}

/// The exclusive end of the range of keys that start with `prefix`: the value for `range_end`.
///
/// If no key can follow the prefix (it is empty or all `0xff`), this is `\0`, which means "to the last key".
///
/// ```
/// use mainstay_store::prefix_end;
/// assert_eq!(prefix_end(b"jobs/"), "jobs0");
/// assert_eq!(prefix_end(b"a\xff"), "b");
/// assert_eq!(prefix_end(b""), "\0");
/// ```
pub fn prefix_end(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return Bytes::from(end);
        }
    }
    Bytes::from_static(b"\0")
}
