//! The watch cache: per resource an immutable sorted map of stored bytes, and a bounded ring of events.
//!
//! Objects are kept as the wire bytes they were stored as, with a small decoded header; reads and watches never decode.

mod cached;
mod cursor;
mod event;
mod feed;
mod resource;
mod ring;
mod snapshot;

pub use cached::{Cached, Header, Owner};
pub use cursor::{Cursor, CursorEnd};
pub use event::{ChangeKind, Event, Format};
pub use feed::{Feed, Progress};
pub use resource::ResourceCache;
pub use snapshot::Snapshot;
