//! The watch cache: per resource an immutable sorted map of stored bytes, and a bounded ring of events.
//!
//! Objects are kept as the wire bytes they were stored as, with a small decoded header; reads and watches never decode.

mod cached;
mod caches;
mod cursor;
mod event;
mod feed;
mod interest;
mod progress;
mod resource;
#[cfg(test)]
mod resource_tests;
mod ring;
mod snapshot;
pub(crate) mod splice;
mod watchers;

pub use cached::{Cached, Header, Owner, StoredDataError};
pub use caches::{CacheMap, Caches};
pub use cursor::{Cursor, CursorEnd};
pub use event::{ChangeKind, Event, FrameKey};
pub use feed::{Feed, FeedDoor, FeedError};
pub use interest::Interest;
pub use progress::Progress;
pub use resource::{ResourceCache, TooOld};
pub use ring::RingBounds;
pub use snapshot::Snapshot;
