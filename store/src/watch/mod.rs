//! Watches: cursors over shared recent history, with the tables behind it.
//!
//! Applying publishes each revision once, into a ring. A notifier thread finds out which watchers it concerns and wakes them; a watcher
//! reads the ring at its own pace, and the tables where the ring has moved on. Nothing queues up for anybody.
mod cursor;
mod hub;
mod interval_index;
mod owed;
mod ring;
mod slot;
mod watcher;

#[cfg(feature = "etcd")]
pub(crate) use cursor::{Cursor, Look, concerns};
pub(crate) use hub::Hub;
#[cfg(feature = "etcd")]
pub(crate) use ring::Items;
pub(crate) use ring::Published;
#[cfg(feature = "etcd")]
pub(crate) use slot::{Mailbox, Slot, Span};
pub use watcher::Watch;
