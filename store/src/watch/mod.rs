//! Watches: cursors over shared recent history, with the tables behind it.
//!
//! Applying publishes each revision once, into a ring. A notifier thread finds out which watchers it concerns and wakes them; a watcher
//! reads the ring at its own pace, and the tables where the ring has moved on. Nothing queues up for anybody.
mod hub;
mod interval_index;
mod ring;
mod slot;
mod watcher;

pub(crate) use hub::Hub;
pub(crate) use ring::Published;
pub use watcher::Watch;
