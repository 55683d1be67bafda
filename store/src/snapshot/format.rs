//! The format of a snapshot, version 1. docs/decisions/0014 says why it is what it is.
//!
//! ```text
//! "mainstay snapshot\n"  version: u32
//! frame*                 length: u32, CRC-32C of the payload: u32, payload
//! ```
//! The first byte of a payload is its kind: 0 the header (cluster u64, revision i64, floor i64, applied index u64, term u64, prefix), 1 rows
//! (each: length and bytes of key, then of value), 2 the end (number of rows u64, SHA-256 of all bytes before this frame). Numbers are little
//! endian. A file without its end is refused, and so is anything after it. Readers are total: any bytes give rows or an error, in bounded memory.
use std::io::{self, Read};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::api::Revision;
use crate::mvcc::{DecodeError, Reader, put_bytes};

pub(super) const MAGIC: &[u8] = b"mainstay snapshot\n";
const VERSION: u32 = 1;
/// A frame is closed once it has so many bytes.
const FRAME_BYTES: usize = 256 << 10;
/// A frame with one very large row; more is refused.
const FRAME_BYTES_MAX: u32 = 256 << 20;

const HEADER: u8 = 0;
const ROWS: u8 = 1;
const END: u8 = 2;

/// What a snapshot is of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) cluster_id: u64,
    pub(super) revision: Revision,
    pub(super) floor: Revision,
    pub(super) index: u64,
    pub(super) term: u64,
    /// Only keys that start with this; none means all, users and roles too.
    pub(super) prefix: Option<Bytes>,
}

/// Why bytes are no snapshot.
#[derive(Debug, thiserror::Error)]
pub(super) enum FormatError {
    #[error("it is no snapshot of this store")]
    Magic,
    #[error("its version is {0}; this program reads version {VERSION}")]
    Version(u32),
    #[error("it is damaged at offset {offset}: {what}")]
    Damaged { offset: u64, what: String },
    #[error("reading it")]
    Io(#[source] io::Error),
}

/// Turns rows into the bytes of a snapshot.
pub(super) struct Writer<S> {
    sink: S,
    digest: Sha256,
    frame: Vec<u8>,
    rows: u64,
}

impl<E, S: FnMut(Bytes) -> Result<(), E>> Writer<S> {
    /// Starts a snapshot; `sink` takes its bytes in pieces.
    pub(super) fn new(header: &Header, sink: S) -> Result<Self, E> {
        let mut writer = Self { sink, digest: Sha256::new(), frame: Vec::new(), rows: 0 };
        let mut start = MAGIC.to_vec();
        start.extend_from_slice(&VERSION.to_le_bytes());
        writer.emit(start)?;
        writer.frame.push(HEADER);
        for number in
            [header.cluster_id, header.revision.0 as u64, header.floor.0 as u64, header.index, header.term]
        {
            writer.frame.extend_from_slice(&number.to_le_bytes());
        }
        writer.frame.push(u8::from(header.prefix.is_some()));
        put_bytes(header.prefix.as_deref().unwrap_or_default(), &mut writer.frame);
        writer.close_frame()?;
        Ok(writer)
    }

    pub(super) fn row(&mut self, key: &[u8], value: &[u8]) -> Result<(), E> {
        if self.frame.is_empty() {
            self.frame.reserve(FRAME_BYTES + key.len() + value.len());
            self.frame.push(ROWS);
        }
        put_bytes(key, &mut self.frame);
        put_bytes(value, &mut self.frame);
        self.rows += 1;
        if self.frame.len() >= FRAME_BYTES { self.close_frame() } else { Ok(()) }
    }

    pub(super) fn finish(mut self) -> Result<(), E> {
        self.close_frame()?;
        self.frame.push(END);
        self.frame.extend_from_slice(&self.rows.to_le_bytes());
        let digest: [u8; 32] = self.digest.clone().finalize().into();
        self.frame.extend_from_slice(&digest);
        self.close_frame()
    }

    fn close_frame(&mut self) -> Result<(), E> {
        let payload = std::mem::take(&mut self.frame);
        if payload.is_empty() {
            return Ok(());
        }
        let mut head = Vec::with_capacity(8);
        head.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        head.extend_from_slice(&crc32c::crc32c(&payload).to_le_bytes());
        self.emit(head)?;
        self.emit(payload)
    }

    fn emit(&mut self, bytes: Vec<u8>) -> Result<(), E> {
        self.digest.update(&bytes);
        (self.sink)(bytes.into())
    }
}

/// One frame of a snapshot.
pub(super) enum Frame {
    Rows(Vec<u8>),
    /// With the number of rows.
    End(u64),
}

/// Takes a snapshot apart.
pub(super) struct Source<R> {
    reader: R,
    digest: Sha256,
    offset: u64,
}

impl<R: Read> Source<R> {
    /// Reads the start, after the magic bytes: these told the caller what it is.
    pub(super) fn open(reader: R) -> Result<(Self, Header), FormatError> {
        let mut digest = Sha256::new();
        digest.update(MAGIC);
        let mut source = Self { reader, digest, offset: MAGIC.len() as u64 };
        let version = u32::from_le_bytes(source.array()?);
        if version != VERSION {
            return Err(FormatError::Version(version));
        }
        let payload = source.payload()?;
        let header = decode_header(&payload).map_err(|error| source.damaged(error.to_string()))?;
        Ok((source, header))
    }

    pub(super) fn frame(&mut self) -> Result<Frame, FormatError> {
        let before: [u8; 32] = self.digest.clone().finalize().into();
        let payload = self.payload()?;
        match payload.first() {
            Some(&ROWS) => Ok(Frame::Rows(payload)),
            Some(&END) => {
                let rows = decode_end(&payload, &before).map_err(|what| self.damaged(what))?;
                let mut more = [0];
                match self.reader.read(&mut more) {
                    Ok(0) => Ok(Frame::End(rows)),
                    Ok(_) => Err(self.damaged("something follows its end".into())),
                    Err(error) => Err(FormatError::Io(error)),
                }
            }
            _ => Err(self.damaged("a frame of an unknown kind".into())),
        }
    }

    pub(super) fn damaged(&self, what: String) -> FormatError {
        FormatError::Damaged { offset: self.offset, what }
    }

    fn payload(&mut self) -> Result<Vec<u8>, FormatError> {
        let length = u32::from_le_bytes(self.array()?);
        let expected = u32::from_le_bytes(self.array()?);
        if length == 0 || length > FRAME_BYTES_MAX {
            return Err(self.damaged(format!("a frame of {length} bytes")));
        }
        // Grows as bytes arrive: a length that lies costs nothing.
        let mut payload = Vec::new();
        let taken =
            (&mut self.reader).take(length.into()).read_to_end(&mut payload).map_err(FormatError::Io)?;
        if taken != length as usize {
            return Err(self.damaged("it ends early".into()));
        }
        if crc32c::crc32c(&payload) != expected {
            return Err(self.damaged("a checksum does not match".into()));
        }
        self.digest.update(&payload);
        self.offset += u64::from(length);
        Ok(payload)
    }

    fn array(&mut self) -> Result<[u8; 4], FormatError> {
        let mut bytes = [0; 4];
        self.reader.read_exact(&mut bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.damaged("it ends early".into()),
            _ => FormatError::Io(error),
        })?;
        self.digest.update(bytes);
        self.offset += 4;
        Ok(bytes)
    }
}

/// Visits the rows of a frame.
pub(super) fn each_row<E>(
    payload: &[u8],
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
) -> Result<Result<(), DecodeError>, E> {
    let mut reader = Reader::new(payload.get(1..).unwrap_or_default());
    while !reader.rest().is_empty() {
        let mut part = || {
            let length = reader.u32()? as usize;
            reader.take(length)
        };
        match (part(), part()) {
            (Ok(key), Ok(value)) => visit(key, value)?,
            (Err(error), _) | (_, Err(error)) => return Ok(Err(error)),
        }
    }
    Ok(Ok(()))
}

fn decode_header(payload: &[u8]) -> Result<Header, DecodeError> {
    let mut reader = Reader::new(payload);
    let kind = reader.u8()?;
    if kind != HEADER {
        return Err(DecodeError::Unknown { what: "first frame", found: kind.into() });
    }
    let header = Header {
        cluster_id: reader.u64()?,
        revision: Revision(reader.i64()?),
        floor: Revision(reader.i64()?),
        index: reader.u64()?,
        term: reader.u64()?,
        prefix: {
            let whole = !reader.bool()?;
            let prefix = reader.bytes()?;
            (!whole).then_some(prefix)
        },
    };
    reader.finish()?;
    if header.revision < Revision::INITIAL || header.floor.0 < 0 || header.floor > header.revision {
        return Err(DecodeError::Unknown { what: "revision", found: header.revision.0 as u64 });
    }
    Ok(header)
}

fn decode_end(payload: &[u8], digest: &[u8; 32]) -> Result<u64, String> {
    let mut reader = Reader::new(payload.get(1..).unwrap_or_default());
    let mut read = || -> Result<(u64, [u8; 32]), DecodeError> {
        let rows = reader.u64()?;
        let expected = *reader.take(32)?.first_chunk().ok_or(DecodeError::Short)?;
        reader.finish()?;
        Ok((rows, expected))
    };
    match read() {
        Ok((rows, expected)) if expected == *digest => Ok(rows),
        Ok(_) => Err("its SHA-256 does not match".into()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    type Rows = Vec<(Vec<u8>, Vec<u8>)>;

    fn write(header: &Header, rows: &Rows) -> Vec<u8> {
        let mut out = Vec::new();
        let sink = |piece: Bytes| -> Result<(), Infallible> {
            out.extend_from_slice(&piece);
            Ok(())
        };
        let mut writer = Writer::new(header, sink).unwrap();
        for (key, value) in rows {
            writer.row(key, value).unwrap();
        }
        writer.finish().unwrap();
        out
    }

    fn read(bytes: &[u8]) -> Result<(Header, Rows), FormatError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(FormatError::Magic)?;
        let (mut source, header) = Source::open(rest)?;
        let mut rows = Rows::new();
        loop {
            match source.frame()? {
                Frame::Rows(payload) => {
                    each_row(&payload, |key, value| {
                        rows.push((key.to_vec(), value.to_vec()));
                        Ok::<(), FormatError>(())
                    })?
                    .map_err(|error| source.damaged(error.to_string()))?;
                }
                Frame::End(count) => {
                    assert_eq!(count, rows.len() as u64);
                    return Ok((header, rows));
                }
            }
        }
    }

    fn header() -> Header {
        Header { cluster_id: 7, revision: Revision(9), floor: Revision(3), index: 5, term: 2, prefix: None }
    }

    fn rows() -> impl Strategy<Value = Rows> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..40);
        proptest::collection::vec((bytes(), bytes()), 0..20)
    }

    proptest! {
        #[test]
        fn a_snapshot_comes_back_as_it_was(rows in rows(), prefix in proptest::option::of("[a-z]{0,5}")) {
            let header = Header { prefix: prefix.map(Bytes::from), ..header() };
            prop_assert_eq!(read(&write(&header, &rows)).unwrap(), (header, rows));
        }

        #[test]
        fn a_snapshot_that_is_cut_or_changed_is_refused(rows in rows(), at in any::<proptest::sample::Index>(), bit in 0..8_u32) {
            let whole = write(&header(), &rows);
            let at = at.index(whole.len());
            prop_assert!(read(&whole[..at]).is_err());
            let mut changed = whole.clone();
            changed[at] ^= 1 << bit;
            prop_assert!(read(&changed).is_err());
            let mut longer = whole;
            longer.push(0);
            prop_assert!(read(&longer).is_err());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut start = MAGIC.to_vec();
            start.extend_from_slice(&VERSION.to_le_bytes());
            start.extend_from_slice(&bytes);
            let _ignored = read(&start);
        }
    }

    #[test]
    fn the_bytes_of_version_1_stay_as_they_are() {
        let bytes = write(&header(), &vec![(b"kkey".to_vec(), b"value".to_vec())]);
        crate::golden::check("snapshot-v1.hex", &crate::golden::hex(&bytes));
    }

    #[test]
    fn a_frame_that_claims_to_be_huge_is_refused_before_memory_is_taken() {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&u32::MAX.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        assert!(matches!(read(&bytes), Err(FormatError::Damaged { .. })));
    }
}
