//! The watch cache: per resource an immutable sorted map of stored bytes, and a bounded ring of events.
//!
//! Objects are kept as the wire bytes they were stored as, with a small decoded header; reads and watches never decode.
//! Equal labels and field sets of different objects are kept once.

mod cached;
mod caches;
mod commons;
mod cursor;
mod event;
mod feed;
mod fields;
mod handover;
mod header;
mod interest;
mod objects;
mod progress;
mod raw;
mod resource;
#[cfg(test)]
mod resource_tests;
mod ring;
mod snapshot;
pub(crate) mod splice;
mod uid;
mod watchers;

pub use cached::{Cached, StoredDataError};
pub use caches::{CacheMap, Caches};
pub use cursor::{Cursor, CursorEnd};
pub use event::{ChangeKind, Event, FrameKey};
pub use feed::{Feed, FeedDoor, FeedError};
pub use fields::Fields;
pub(crate) use handover::{Handed, Handover};
pub use header::{Header, LabelSet};
pub use interest::Interest;
pub use progress::Progress;
pub use raw::Raw;
pub use resource::{ResourceCache, TooOld};
pub use ring::RingBounds;
pub use snapshot::Snapshot;
pub use uid::Uid;
