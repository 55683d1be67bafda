//! What a snapshot holds, without restoring it.
use std::io::{BufReader, Read};

use bytes::Bytes;

use super::format::{FormatError, Frame, MAGIC, Source, each_row};
use super::restore::{RestoreError, Snapshot, sniff};
use crate::api::Revision;
use crate::engine::KeyVersions;
use crate::mvcc::DecodeError;

/// Who wrote a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotFormat {
    /// This store.
    Mainstay,
    /// etcd: a bbolt database.
    Etcd,
}

/// What [`snapshot_status`] tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotStatus {
    /// Who wrote it.
    pub format: SnapshotFormat,
    /// CRC-32C over all rows; for etcd's format the same as `etcdctl snapshot status` shows.
    pub hash: u32,
    /// The store's revision when it was taken; for etcd's format the last one that was written.
    pub revision: Revision,
    /// The oldest revision that it can be restored at; etcd's format does not tell before it is restored.
    pub oldest: Option<Revision>,
    /// The rows; in etcd's format of all buckets, as `etcdctl snapshot status` counts.
    pub keys: u64,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// The cluster that it was taken of; etcd's format does not tell.
    pub cluster_id: Option<u64>,
}

/// Counts what passes.
struct Counted<R> {
    reader: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let taken = self.reader.read(buffer)?;
        self.bytes += taken as u64;
        Ok(taken)
    }
}

/// Reads a whole snapshot, checks its sums, and tells what it holds. Blocks.
///
/// # Errors
/// As [`restore`](crate::restore)'s.
pub fn snapshot_status(file: &mut std::fs::File) -> Result<SnapshotStatus, RestoreError> {
    match sniff(file)? {
        Snapshot::Ours => {
            let mut counted =
                Counted { reader: BufReader::with_capacity(1 << 20, file), bytes: MAGIC.len() as u64 };
            own_status(&mut counted)
        }
        #[cfg(feature = "etcd")]
        Snapshot::Etcd => super::etcd_import::status(file),
    }
}

/// As [`snapshot_status`], of a stream, such as an object that comes over the network. Only for this store's own format: etcd's
/// cannot be read in order. Blocks. What comes after the snapshot is not read.
///
/// # Errors
/// As [`restore`](crate::restore)'s.
pub fn snapshot_status_of_stream(mut from: impl Read) -> Result<SnapshotStatus, RestoreError> {
    let mut magic = [0; MAGIC.len()];
    match from.read_exact(&mut magic) {
        Ok(()) if magic == MAGIC => {}
        Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => {
            return Err(RestoreError::Read(error));
        }
        _ => return Err(FormatError::Magic.into()),
    }
    own_status(&mut Counted { reader: BufReader::with_capacity(1 << 20, from), bytes: MAGIC.len() as u64 })
}

/// The values that a key has in a snapshot's history, oldest first, each with the revision that it was written at. Reads and checks all of
/// the snapshot. Only for this store's own format. Blocks.
///
/// # Errors
/// As [`restore`](crate::restore)'s.
pub fn snapshot_versions(
    from: &mut std::fs::File,
    key: &[u8],
) -> Result<Vec<(Revision, Bytes)>, RestoreError> {
    let mut magic = [0; MAGIC.len()];
    from.read_exact(&mut magic).map_err(|_short| FormatError::Magic)?;
    if magic != MAGIC {
        return Err(FormatError::Magic.into());
    }
    let (mut source, _header) = Source::open(BufReader::with_capacity(1 << 20, from))?;
    let (versions, mut found, mut rows) = (KeyVersions::of(key), Vec::new(), 0);
    loop {
        match source.frame()? {
            Frame::Rows(payload) => each_row(&payload, |row, value| {
                rows += 1;
                if let Some((revision, value)) = versions.value_in(row, value) {
                    found.push((revision, Bytes::copy_from_slice(value)));
                }
                Ok::<(), RestoreError>(())
            })?
            .map_err(|error: DecodeError| source.damaged(error.to_string()))?,
            Frame::End(count) if count == rows => break,
            Frame::End(_) => return Err(source.damaged("rows are missing".into()).into()),
        }
    }
    found.sort_unstable_by_key(|(revision, _)| *revision);
    Ok(found)
}

fn own_status<R: Read>(counted: &mut Counted<R>) -> Result<SnapshotStatus, RestoreError> {
    let (mut source, header) = Source::open(&mut *counted)?;
    let (mut hash, mut keys) = (0, 0);
    loop {
        match source.frame()? {
            Frame::Rows(payload) => each_row(&payload, |key, value| {
                hash = crc32c::crc32c_append(crc32c::crc32c_append(hash, key), value);
                keys += 1;
                Ok::<(), RestoreError>(())
            })?
            .map_err(|error: DecodeError| source.damaged(error.to_string()))?,
            Frame::End(rows) if rows == keys => break,
            Frame::End(_) => return Err(source.damaged("rows are missing".into()).into()),
        }
    }
    let size_bytes = counted.bytes;
    Ok(SnapshotStatus {
        format: SnapshotFormat::Mainstay,
        hash,
        revision: header.revision,
        oldest: Some(header.floor),
        keys,
        size_bytes,
        cluster_id: Some(header.cluster_id),
    })
}
