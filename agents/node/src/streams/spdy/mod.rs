//! SPDY/3.1 as Kubernetes clients speak it: framing, compressed headers, streams. No flow control, as the Go library
//! that every client uses has none. Sources: the SPDY/3.1 draft, and moby/spdystream's behaviour.

mod connection;
mod frame;
mod headers;

pub(super) use connection::{Connection, SpdyStream};

/// The pieces of a client's half.
#[cfg(test)]
pub(super) mod testing {
    pub(crate) use super::frame::{Frame, parse, write};
    pub(crate) use super::headers::{HeaderReader, HeaderWriter, Headers};
}
