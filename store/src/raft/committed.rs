//! How far a member of several knows that the log is committed, noted beside the log while it runs: a member that starts without the
//! others applies that much, and can be read before a majority is there.
//!
//! It is a hint, never a promise. It is written without a sync, and it counts only where the log has that very entry of that very
//! cluster: an entry of the same term and index is the same in every log, and so is all before it.
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::log::{Disk, DiskFile};
use super::member::Member;

const FILE: &str = "COMMITTED";
const MAGIC: [u8; 8] = *b"MSCOMM01";

/// It is written no more often, and only after something was applied.
const PAUSE: Duration = Duration::from_millis(500);

/// The term and the index of an entry.
pub(crate) type EntryAt = (u64, u64);

fn encode(cluster_id: u64, (term, index): EntryAt) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    for number in [cluster_id, term, index] {
        bytes.extend(number.to_le_bytes());
    }
    let sum = crc32c::crc32c(&bytes);
    bytes.extend(sum.to_le_bytes());
    bytes
}

/// None for anything that is not whole, or of another cluster.
fn decode(cluster_id: u64, bytes: &[u8]) -> Option<EntryAt> {
    let number = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let entry = (number(16)?, number(24)?);
    (bytes == encode(cluster_id, entry)).then_some(entry)
}

/// What was noted in a data directory. Blocks.
pub(crate) fn read(disk: &dyn Disk, dir: &Path, cluster_id: u64) -> Option<EntryAt> {
    decode(cluster_id, &disk.read(&dir.join(FILE)).ok()?)
}

/// Where it is noted.
#[derive(Debug)]
pub(crate) struct Note {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    cluster_id: u64,
    /// Open from the first note on.
    file: Mutex<Option<Arc<dyn DiskFile>>>,
}

impl Note {
    pub(crate) fn new(disk: Arc<dyn Disk>, dir: &Path, cluster_id: u64) -> Self {
        Self { disk, path: dir.join(FILE), cluster_id, file: Mutex::new(None) }
    }

    fn write(&self, entry: EntryAt) -> io::Result<()> {
        let file = {
            let mut held = self.file.lock();
            match held.as_ref() {
                Some(file) => Arc::clone(file),
                None => Arc::clone(held.insert(self.open()?)),
            }
        };
        file.write_all_at(&encode(self.cluster_id, entry), 0)
    }

    fn open(&self) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open(&self.path).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => self.disk.create(&self.path),
            _ => Err(error),
        })
    }
}

impl Member {
    /// Notes how far this member has applied its log, until it stops.
    pub(crate) async fn note_committed(self, note: Note) {
        let stop: CancellationToken = self.stop.token().clone();
        let note = Arc::new(note);
        let work = async {
            let mut applied = self.queue.applied();
            loop {
                let entry = *applied.borrow_and_update();
                if let Some(entry) = entry {
                    let note = Arc::clone(&note);
                    let written = self.queue.platform().blocking(move || note.write(entry)).await;
                    if let Err(error) = written.and_then(|written| written) {
                        tracing::debug!(%error, "how far the log is committed was not noted");
                    }
                }
                tokio::time::sleep(PAUSE).await;
                if applied.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = work => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::log::OsDisk;

    #[test]
    fn what_was_noted_is_read_only_whole_and_by_its_cluster() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(&OsDisk, dir.path(), 7), None);
        let note = Note::new(Arc::new(OsDisk), dir.path(), 7);
        note.write((2, 900)).unwrap();
        note.write((3, 1000)).unwrap();
        assert_eq!(read(&OsDisk, dir.path(), 7), Some((3, 1000)));
        assert_eq!(read(&OsDisk, dir.path(), 8), None, "another cluster's");
        let bytes = encode(7, (3, 1000));
        assert_eq!(bytes.len(), 36);
        for end in 0..bytes.len() {
            assert_eq!(decode(7, &bytes[..end]), None, "cut at {end}");
        }
        for at in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[at] ^= 1;
            assert_eq!(decode(7, &altered), None, "altered at {at}");
        }
    }
}
