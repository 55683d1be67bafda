//! Reading the log at the start: what is whole is taken, a torn tail is cut, damage in what was acknowledged is refused.
//!
//! How the two are told apart: each record says how much of its file was synced when it was written. A record after the damage that knows
//! the damaged place as synced proves that acknowledged data was hit; else the place was never synced, and nobody was told of it. The last
//! group of records has nobody to speak for it, unless the store was closed well; there at least a single flipped bit is told from a tear.
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::disk::DiskFile;
use super::file::Directory;
use super::record::{self, ALIGNMENT, FILE_HEADER_BYTES, FileHeader, Record};
use super::tail::{Position, Tail};
use crate::api::OpenError;
use crate::raft::types::{LogId, Vote};

/// A file of the log with what the flusher has to know of it.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) number: u64,
    pub(super) file: Arc<dyn DiskFile>,
    /// The highest index of an entry in it.
    pub(super) last_index: Option<u64>,
}

/// The log as it was found.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) tail: Arc<Tail>,
    /// In order; the last one is written to next.
    pub(super) files: Vec<OpenFile>,
    /// Where the last file is written to next.
    pub(super) offset: u64,
}

/// Reads the log, or begins one.
pub(super) fn recover(directory: &Directory) -> Result<Recovered, OpenError> {
    let tail = Arc::new(Tail::default());
    directory.remove_unfinished().map_err(|source| io_error("clearing the log's directory", source))?;
    let listing = directory.list().map_err(|source| io_error("listing the log's files", source))?;
    let mut recovered = Recovered { tail, files: Vec::new(), offset: 0 };
    let mut files = listing.files.into_iter().peekable();
    while let Some((number, path)) = files.next() {
        let next = files.peek().map(|(number, _)| *number);
        if next.is_some_and(|next| next != number + 1) {
            return Err(damaged(&directory.path_of(number + 1), 0, "the file is missing".into()));
        }
        let goes_on = recovered.read_file(directory, number, &path)?;
        match (goes_on, next) {
            (true, None) => {
                return Err(damaged(&directory.path_of(number + 1), 0, "the file is missing".into()));
            }
            (true, Some(_)) | (false, None) => {}
            // The next file was begun, but this one was not ended: a crash in between.
            (false, Some(_)) => {
                drop_unused(directory, &mut files)?;
                break;
            }
        }
    }
    if recovered.files.is_empty() {
        recovered.begin(directory)?;
    }
    Ok(recovered)
}

/// Takes out a last file that has no records of its own yet.
fn drop_unused(
    directory: &Directory,
    files: &mut impl Iterator<Item = (u64, std::path::PathBuf)>,
) -> Result<(), OpenError> {
    for (number, path) in files {
        let content = directory.disk.read(&path).map_err(|source| io_error("reading a log file", source))?;
        let first = record::find(&content, number, FILE_HEADER_BYTES);
        if first.is_none_or(|first| record::find(&content, number, first.next).is_some()) {
            let before = directory.path_of(number.saturating_sub(1));
            return Err(damaged(
                &before,
                content.len() as u64,
                "the file has no end, but the next one is in use".into(),
            ));
        }
        directory.retire(&path).map_err(|source| io_error("retiring a log file", source))?;
    }
    Ok(())
}

impl Recovered {
    fn begin(&mut self, directory: &Directory) -> Result<(), OpenError> {
        let state = Record::State { vote: None, purged: None };
        let file = directory.begin(1, &state).map_err(|source| io_error("creating the log", source))?;
        let mut first = Vec::new();
        record::encode(&state, record::Place { file: 1, offset: 0, durable: 0 }, &mut first);
        self.offset = FILE_HEADER_BYTES + first.len() as u64;
        self.add(1, file);
        Ok(())
    }

    fn add(&mut self, number: u64, file: Arc<dyn DiskFile>) {
        self.tail.add_file(number, Arc::clone(&file));
        self.files.push(OpenFile { number, file, last_index: None });
    }

    /// Takes the records of a file. Tells whether the log goes on in the next one.
    fn read_file(&mut self, directory: &Directory, number: u64, path: &Path) -> Result<bool, OpenError> {
        let file = directory.disk.open(path).map_err(|source| io_error("opening a log file", source))?;
        let content = directory.disk.read(path).map_err(|source| io_error("reading a log file", source))?;
        match FileHeader::decode(&content) {
            Some(header) if header.file == number && header.cluster_id == directory.cluster_id => {
                // A file has its whole size before it gets its name.
                if header.bytes != content.len() as u64 {
                    let what = format!("the file was cut: it had {} bytes", header.bytes);
                    return Err(damaged(path, content.len() as u64, what));
                }
            }
            Some(_) => return Err(damaged(path, 0, "the file is of another place or cluster".into())),
            None => return Err(damaged(path, 0, "the file has no valid header".into())),
        }
        let is_first = self.files.is_empty();
        self.add(number, file);
        let mut at = FILE_HEADER_BYTES;
        let mut ended = false;
        let mut durable = FILE_HEADER_BYTES;
        while let Some(found) = record::find(&content, number, at) {
            let record = record::decode(&found).map_err(|error| damaged(path, at, error.to_string()))?;
            let position = Position { file: number, offset: at, bytes: (found.next - at) as u32 };
            if at == FILE_HEADER_BYTES && !matches!(record, Record::State { .. }) {
                return Err(damaged(path, at, "the file does not begin with the log's state".into()));
            }
            ended = matches!(record, Record::NextFile);
            durable = durable.max(found.durable);
            self.take(record, position, is_first).map_err(|error| damaged(path, at, error.to_string()))?;
            at = found.next;
            if ended {
                break;
            }
        }
        if at == FILE_HEADER_BYTES {
            return Err(damaged(path, at, "the log's state cannot be read".into()));
        }
        self.offset = at;
        self.harden(&content, durable..at)?;
        if !ended {
            self.cut(path, number, &content, at)?;
        }
        Ok(ended)
    }

    fn take(&mut self, record: Record, position: Position, is_first: bool) -> io::Result<()> {
        match record {
            Record::Entry(entry) => {
                let index = entry.log_id.index;
                if let Some(file) = self.files.last_mut() {
                    file.last_index = file.last_index.max(Some(index));
                }
                if self.tail.purged().is_none_or(|purged| index > purged.index) {
                    self.tail.push_written(entry, position)?;
                }
            }
            Record::Vote(vote) => self.tail.set_vote(vote),
            Record::TruncateAfter(index) => self.tail.truncate_after(index),
            Record::Purge(upto) => self.tail.purge(upto),
            Record::State { vote, purged } if is_first => self.take_state(vote, purged),
            // Later files repeat what the earlier ones told.
            Record::State { .. } | Record::NextFile | Record::Closed => {}
        }
        Ok(())
    }

    fn take_state(&self, vote: Option<Vote>, purged: Option<LogId>) {
        if let Some(vote) = vote {
            self.tail.set_vote(vote);
        }
        if let Some(purged) = purged {
            self.tail.purge(purged);
        }
    }

    /// Writes again what nothing proves to be on disk. The process before may have ended because a sync failed: what it wrote is then still in
    /// the memory of the system, and reads well, but may never reach the disk unless it is written anew.
    fn harden(&self, content: &[u8], unproven: Range<u64>) -> Result<(), OpenError> {
        let bytes = content.get(unproven.start as usize..unproven.end as usize).unwrap_or_default();
        let Some(open) = self.files.last().filter(|_| !bytes.is_empty()) else { return Ok(()) };
        open.file
            .write_all_at(bytes, unproven.start)
            .and_then(|()| open.file.sync_all())
            .map_err(|source| io_error("securing the end of the log", source))
    }

    /// Makes the rest of the last file zero, unless it holds proof that acknowledged data is damaged.
    fn cut(&self, path: &Path, number: u64, content: &[u8], at: u64) -> Result<(), OpenError> {
        let rest = content.get(at as usize..).unwrap_or_default();
        if rest.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        let mut probe = at + ALIGNMENT as u64;
        while probe < content.len() as u64 {
            if let Some(later) = record::find(content, number, probe)
                && later.durable > at
            {
                return Err(damaged(
                    path,
                    at,
                    format!("a record that was synced cannot be read; the one at {probe} is whole"),
                ));
            }
            probe += ALIGNMENT as u64;
        }
        if record::is_one_bit_off(rest, number, at) {
            // A torn write lacks whole sectors; this is damage.
            return Err(damaged(path, at, "one bit of a record was flipped".into()));
        }
        let Some(open) = self.files.last() else { return Ok(()) };
        // Left-overs of a torn write must not look like followers of what is written here next.
        open.file
            .write_all_at(&vec![0; rest.len()], at)
            .map_err(|source| io_error("cutting the log's torn tail", source))?;
        open.file.sync_all().map_err(|source| io_error("cutting the log's torn tail", source))?;
        tracing::debug!(file = %path.display(), offset = at, "cleared the log after its last record");
        Ok(())
    }
}

fn damaged(file: &Path, offset: u64, what: String) -> OpenError {
    OpenError::Damaged { file: file.to_path_buf(), offset, what }
}

fn io_error(what: &str, source: io::Error) -> OpenError {
    OpenError::Io { what: what.into(), source }
}
