//! From cached bytes to what a client reads: negotiation, single objects, lists, tables, watch frames, compression.

mod bytes_out;
mod gzip;
mod list;
mod media;
mod object;
mod table;
mod watch_frame;

pub use bytes_out::{negotiated_response, value_response};
pub use gzip::gzip_wanted;
pub use list::{ListMeta, ListSource, list_body};
pub use media::{Accepted, Allow, IncludeObject, Media, View, accept};
pub use object::{ObjectEncoder, Shown};
pub use watch_frame::{FrameEncoder, WatchMedia};
