//! Following changes.
use bytes::Bytes;

use super::{Event, Revision};

/// Which changes to follow, and from where in history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "four independent choices, as in etcd's request")]
pub struct WatchRequest {
    /// The first key (or the only one).
    pub key: Bytes,
    /// The exclusive end (see [`RangeRequest`](crate::RangeRequest)); none watches one key.
    pub range_end: Option<Bytes>,
    /// The first revision to deliver, which may be long past or still to come; none means "what happens from now on".
    pub start: Option<Revision>,
    /// Deliver the version before with each event.
    pub prev_kv: bool,
    /// Leave out puts.
    pub filter_put: bool,
    /// Leave out deletes.
    pub filter_delete: bool,
    /// Deliver an empty batch with the store's revision after a while (see [`Config`](crate::Config)) without events.
    pub progress: bool,
}

impl WatchRequest {
    /// One key.
    pub fn key(key: impl Into<Bytes>) -> Self {
        Self { key: key.into(), ..Self::default() }
    }

    /// All keys that start with `prefix`.
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let key = prefix.into();
        let range_end = Some(super::prefix_end(&key));
        Self { key, range_end, ..Self::default() }
    }

    /// Starts at a revision: the usual value is that of a range answer, plus one.
    #[must_use]
    pub fn starting_at(mut self, revision: Revision) -> Self {
        self.start = Some(revision);
        self
    }
}

/// All events of one revision that a watch asked for. Batches come in the order of their revisions, without gap or repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchBatch {
    /// The revision. For progress: everything up to here has been delivered.
    pub revision: Revision,
    /// The events in the order of the write; empty means progress.
    pub events: Vec<Event>,
}
