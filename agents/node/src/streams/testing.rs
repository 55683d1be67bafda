//! What tests outside this module need of it: a SPDY client's half, and query parsing. Tests only.

use bytes::{Bytes, BytesMut};

pub(crate) use super::query::Query;
use super::spdy::testing::{Frame, HeaderReader, HeaderWriter, Headers, parse, write};

pub(crate) type HeaderPair = (String, String);

/// The client's side of a SPDY connection, without IO.
pub(crate) struct Spdy {
    writer: HeaderWriter,
    reader: HeaderReader,
}

impl Spdy {
    pub(crate) fn new() -> Self {
        Self { writer: HeaderWriter::new().unwrap(), reader: HeaderReader::new() }
    }

    pub(crate) fn open(&mut self, stream: u32, headers: Vec<HeaderPair>, out: &mut BytesMut) {
        let headers: Headers = headers.into_iter().collect();
        let block = self.writer.write(&headers).unwrap().into();
        write(&Frame::SynStream { stream, fin: false, block }, out);
    }

    pub(crate) fn data(stream: u32, bytes: &'static [u8], fin: bool, out: &mut BytesMut) {
        write(&Frame::Data { stream, fin, bytes: Bytes::from_static(bytes) }, out);
    }

    /// The data frames that are complete.
    pub(crate) fn take(&mut self, buffer: &mut BytesMut) -> Vec<(u32, Bytes, bool)> {
        let mut data = Vec::new();
        while let Some(frame) = parse(buffer).unwrap() {
            match frame {
                Frame::Data { stream, fin, bytes } => data.push((stream, bytes, fin)),
                Frame::SynReply { block, .. } => drop(self.reader.read(&block).unwrap()),
                other => panic!("unexpected {other:?}"),
            }
        }
        data
    }
}
