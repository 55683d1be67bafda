//! From cached bytes to what a client reads: negotiation, single objects, lists, tables, watch frames, compression.

mod bytes_out;
mod gzip;
mod list;
mod media;
mod object;
mod table;
mod watch_frame;

pub use bytes_out::{list_response, object_response, raw_response, value_response};
pub use gzip::gzip_wanted;
pub use list::{ListChunks, ListMeta, ListSource, list_body, position_after};
pub use media::{Accepted, Allow, IncludeObject, Media, View, accept};
pub use object::{ObjectEncoder, Shown};
pub use watch_frame::{FrameEncoder, WatchMedia};
