//! The service Watch: one stream, many watches, each event encoded once for all of the stream's watches of a range.
//!
//! A stream is a [`session`]: one task that reads all of its watches' cursors. It produces only when the connection takes more, so a client
//! that does not read costs nothing; what it missed it reads from history.
mod body;
mod encode;
mod head;
mod progress;
mod service;
mod session;
mod shape;

pub(super) use service::WatchService;
