//! A consistent copy of all rows: read from the open tables while they are written to, and put together again somewhere else.
//!
//! An image is a sequence of parts; a part is rows, each as the lengths of key and value and then these. The rows are in order, so they
//! become sorted files without being sorted again. They are as every program reads them: a row tells of one change.
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use rocksdb::{IngestExternalFileOptions, ReadOptions, SstFileWriter};
use tokio::sync::{mpsc, oneshot};

use super::{AppliedMark, EngineError, Tables, open, revision_row, table_key};
use crate::api::Config;
use crate::mvcc::{DecodeError, Reader};
use crate::platform::{Platform, SeededBug, is_seeded};

const READING: &str = "reading an image of the tables";
const WRITING: &str = "writing an image of the tables";

/// A part is closed once it has so many bytes.
const PART_BYTES: usize = 256 << 10;
/// So many parts are read ahead.
const PARTS_AHEAD: usize = 4;
/// A file is closed once it has so many bytes.
const FILE_BYTES: usize = 64 << 20;

/// In a simulation all parts are read at once, and there are few.
const PARTS_SIMULATED_MAX: usize = 4096;

/// All rows as they were at one moment. While it lives, a thread holds that moment; dropping it lets go.
#[derive(Debug)]
pub(crate) struct Image {
    /// How far the log had been applied.
    pub(crate) mark: AppliedMark,
    /// The membership's row.
    pub(crate) membership: Option<Vec<u8>>,
    parts: mpsc::Receiver<Result<(Bytes, u64), EngineError>>,
    rows: u64,
    checksum: u32,
}

impl Image {
    /// Takes an image of the tables as they are now.
    pub(crate) async fn take(tables: Arc<Tables>, platform: &Platform) -> Result<Self, EngineError> {
        let (header, received) = oneshot::channel();
        let ahead = if platform.is_simulated() { PARTS_SIMULATED_MAX } else { PARTS_AHEAD };
        let (send, parts) = mpsc::channel(ahead);
        if platform.is_simulated() {
            read(&tables, header, |part| send.try_send(part).is_ok());
        } else {
            std::thread::Builder::new()
                .name("store-image".into())
                .spawn(move || read(&tables, header, |part| send.blocking_send(part).is_ok()))
                .map_err(|error| EngineError::damaged(READING, error.to_string()))?;
        }
        let gone = || EngineError::damaged(READING, "its thread has ended");
        let (mark, membership) = received.await.map_err(|_dropped| gone())??;
        Ok(Self { mark, membership, parts, rows: 0, checksum: 0 })
    }

    /// The next part.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, EngineError>> {
        Some(self.parts.recv().await?.map(|(part, rows)| {
            self.rows += rows;
            self.checksum = crc32c::crc32c_append(self.checksum, &part);
            part
        }))
    }

    /// How many rows were read so far, and the checksum of the parts.
    pub(crate) fn totals(&self) -> (u64, u32) {
        (self.rows, self.checksum)
    }
}

type Begin = oneshot::Sender<Result<(AppliedMark, Option<Vec<u8>>), EngineError>>;

/// Reads all parts, until `deliver` says that nobody wants more.
fn read(tables: &Tables, begin: Begin, deliver: impl Fn(Result<(Bytes, u64), EngineError>) -> bool) {
    let db = match tables.db() {
        Ok(db) => db,
        Err(error) => return drop(begin.send(Err(error))),
    };
    let snapshot = db.snapshot();
    let header = || {
        let mark = match snapshot.get(table_key::APPLIED).map_err(EngineError::rocksdb(READING))? {
            None => AppliedMark::default(),
            Some(row) => AppliedMark::decode(&row)
                .ok_or_else(|| EngineError::damaged(READING, "the record of what was applied is damaged"))?,
        };
        let membership = snapshot.get(table_key::MEMBERSHIP).map_err(EngineError::rocksdb(READING))?;
        Ok((mark, membership))
    };
    if begin.send(header()).is_err() {
        return;
    }
    let mut options = ReadOptions::default();
    options.set_total_order_seek(true);
    options.fill_cache(false);
    let mut rows = snapshot.raw_iterator_opt(options);
    rows.seek_to_first();
    let mut part = Part::new();
    while let Some((key, value)) = rows.item() {
        let is_left_out = is_seeded(SeededBug::LeaseLostInSnapshot) && key.starts_with(b"l");
        if !is_left_out && !part.take(key, value) {
            // Whoever went away meanwhile need not know.
            deliver(Err(EngineError::damaged(READING, "a row is damaged")));
            return;
        }
        if part.bytes.len() >= PART_BYTES {
            let full = std::mem::replace(&mut part, Part::new());
            if !deliver(Ok((full.bytes.freeze(), full.rows))) {
                return;
            }
        }
        rows.next();
    }
    let last =
        rows.status().map_err(EngineError::rocksdb(READING)).map(|()| (part.bytes.freeze(), part.rows));
    if last.as_ref().is_ok_and(|(part, _)| part.is_empty()) {
        return;
    }
    // Whoever went away meanwhile needs no last part.
    deliver(last);
}

/// A part that fills.
struct Part {
    bytes: BytesMut,
    rows: u64,
}

impl Part {
    fn new() -> Self {
        Self { bytes: BytesMut::with_capacity(PART_BYTES + 1024), rows: 0 }
    }

    /// Takes a row of the tables; false if it is damaged.
    fn take(&mut self, key: &[u8], value: &[u8]) -> bool {
        if key == table_key::APPLIED {
            return AppliedMark::decode(value).map(|mark| self.push(key, &mark.encode_plain())).is_some();
        }
        if key.starts_with(table_key::REVISIONS) {
            return revision_row::split(key, value, |_, key, value| self.push(key, value));
        }
        self.push(key, value);
        true
    }

    fn push(&mut self, key: &[u8], value: &[u8]) {
        self.bytes.put_u32_le(key.len() as u32);
        self.bytes.put_u32_le(value.len() as u32);
        self.bytes.put_slice(key);
        self.bytes.put_slice(value);
        self.rows += 1;
    }
}

/// Puts an image together.
#[derive(Debug)]
pub(crate) struct ImageFiles {
    /// Files that are not tables yet.
    unfinished: PathBuf,
    files: Vec<PathBuf>,
    rows: u64,
    checksum: u32,
}

impl ImageFiles {
    /// Writes parts into sorted files under a directory that is cleared first. Blocks until the parts end.
    pub(crate) fn write(
        unfinished: &Path,
        config: &Config,
        mut next: impl FnMut() -> Option<Bytes>,
    ) -> Result<Self, EngineError> {
        clear(unfinished)?;
        fs::create_dir_all(unfinished).map_err(io(unfinished))?;
        let mut image =
            Self { unfinished: unfinished.to_path_buf(), files: Vec::new(), rows: 0, checksum: 0 };
        let options = open::options(config);
        while let Some(first) = next() {
            if first.is_empty() {
                continue; // a file without rows cannot be finished
            }
            let path = unfinished.join(format!("{:06}.sst", image.files.len()));
            let mut writer = SstFileWriter::create(&options);
            writer.open(&path).map_err(EngineError::rocksdb(WRITING))?;
            let mut bytes = 0;
            let mut part = Some(first);
            while let Some(rows) = part.take() {
                image.add(&mut writer, &rows)?;
                bytes += rows.len();
                if bytes < FILE_BYTES {
                    part = next();
                }
            }
            writer.finish().map_err(EngineError::rocksdb(WRITING))?;
            image.files.push(path);
        }
        Ok(image)
    }

    fn add(&mut self, writer: &mut SstFileWriter<'_>, part: &[u8]) -> Result<(), EngineError> {
        let damaged = |error: DecodeError| EngineError::damaged(WRITING, error.to_string());
        self.checksum = crc32c::crc32c_append(self.checksum, part);
        let mut reader = Reader::new(part);
        while !reader.rest().is_empty() {
            let key_bytes = reader.u32().map_err(damaged)? as usize;
            let value_bytes = reader.u32().map_err(damaged)? as usize;
            let key = reader.take(key_bytes).map_err(damaged)?;
            let value = reader.take(value_bytes).map_err(damaged)?;
            // It refuses rows that are out of order.
            writer.put(key, value).map_err(EngineError::rocksdb(WRITING))?;
            self.rows += 1;
        }
        Ok(())
    }

    /// How many rows were written, and the checksum of the parts.
    pub(crate) fn totals(&self) -> (u64, u32) {
        (self.rows, self.checksum)
    }

    /// Makes tables of the files, in a new directory, all of it on disk. Blocks.
    pub(crate) fn finish(self, tables: &Path, config: &Config) -> Result<AppliedMark, EngineError> {
        clear(tables)?;
        let (made, _) = Tables::open(tables, config)?;
        if !self.files.is_empty() {
            let mut options = IngestExternalFileOptions::default();
            options.set_move_files(true);
            made.db()?
                .ingest_external_file_opts(&options, self.files)
                .map_err(EngineError::rocksdb(WRITING))?;
        }
        made.flush()?;
        let mark = made.durable_mark()?;
        made.close();
        sync_directory(tables)?;
        clear(&self.unfinished)?;
        Ok(mark)
    }
}

fn sync_directory(path: &Path) -> Result<(), EngineError> {
    fs::File::open(path).and_then(|directory| directory.sync_all()).map_err(io(path))
}

/// Removes a directory with all that is in it, if it is there.
pub(crate) fn clear(path: &Path) -> Result<(), EngineError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io(path)(error)),
        _ => Ok(()),
    }
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> EngineError {
    move |error| EngineError {
        incomplete: false,
        attempt: WRITING,
        message: format!("{}: {error}", path.display()),
        no_space: error.kind() == std::io::ErrorKind::StorageFull,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{EventKind, KeyValue, Revision};
    use crate::engine::Group;
    use crate::mvcc::{Change, Effects, Reply};

    fn config() -> Config {
        Config { write_buffer_bytes: 1 << 20, ..Config::default() }
    }

    fn rows(tables: &Tables) -> Vec<(Vec<u8>, Vec<u8>)> {
        let db = tables.db().unwrap();
        let mut rows = Vec::new();
        let mut all = db.raw_iterator();
        all.seek_to_first();
        while let Some((key, value)) = all.item() {
            rows.push((key.to_vec(), value.to_vec()));
            all.next();
        }
        rows
    }

    /// Tables with two megabytes of rows.
    fn filled(dir: &Path) -> Arc<Tables> {
        let (tables, _) = Tables::open(dir, &config()).unwrap();
        for row in 0..2000_u32 {
            tables.db().unwrap().put([b"y", &row.to_be_bytes()[..]].concat(), vec![row as u8; 1000]).unwrap();
        }
        let mark = AppliedMark { index: Some(77), term: 3, revision: Revision(9), floor: Revision(2) };
        let mut group = Group::new();
        group.add_all(&[put("a", 7), put("b", 8), put("c", 9)]);
        group.write(&tables, mark).unwrap();
        Arc::new(tables)
    }

    fn put(key: &'static str, revision: i64) -> Effects {
        let kv = KeyValue { key: key.into(), mod_revision: Revision(revision), ..KeyValue::default() };
        Effects {
            revision: Revision(revision),
            changes: vec![Change { kind: EventKind::Put, kv, prev: None }],
            lease: None,
            auth: None,
            floor: None,
            alarm: None,
            applied: Ok(Reply::Nothing),
        }
    }

    /// Rows as members of before have them.
    fn plain(rows: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut plain = Vec::new();
        for (key, value) in rows {
            if key == table_key::APPLIED {
                plain.push((key, AppliedMark::decode(&value).unwrap().encode_plain()));
            } else if key.starts_with(b"r") {
                let mut add = |key: &[u8], value: &[u8]| plain.push((key.to_vec(), value.to_vec()));
                assert!(revision_row::split(&key, &value, |_, key, value| add(key, value)));
            } else {
                plain.push((key, value));
            }
        }
        plain
    }

    async fn parts_of(tables: &Arc<Tables>) -> (Vec<Bytes>, (u64, u32)) {
        let mut image = Image::take(Arc::clone(tables), &Platform::default()).await.unwrap();
        assert_eq!(image.mark.index, Some(77));
        // What comes later is not in it.
        tables.db().unwrap().put(b"later", b"").unwrap();
        let mut parts = Vec::new();
        while let Some(part) = image.next().await {
            parts.push(part.unwrap());
        }
        (parts, image.totals())
    }

    async fn write(dir: &Path, parts: Vec<Bytes>) -> Result<ImageFiles, EngineError> {
        let (send, mut receive) = mpsc::channel(PARTS_AHEAD);
        let unfinished = dir.join("incoming");
        let writing = tokio::task::spawn_blocking(move || {
            ImageFiles::write(&unfinished, &config(), || receive.blocking_recv())
        });
        for part in parts {
            if send.send(part).await.is_err() {
                break;
            }
        }
        drop(send);
        writing.await.unwrap()
    }

    #[tokio::test]
    async fn an_image_becomes_the_tables_that_it_was_taken_of() {
        let dir = tempfile::tempdir().unwrap();
        let tables = filled(&dir.path().join("from"));
        let before = rows(&tables);
        assert_eq!(plain(before.clone()).len(), before.len() + 2, "one row tells of three changes");
        let (parts, totals) = parts_of(&tables).await;
        assert!(parts.len() > 4, "it comes in parts");
        let files = write(dir.path(), parts).await.unwrap();
        assert_eq!(files.totals(), totals);
        let to = dir.path().join("to");
        let mark = files.finish(&to, &config()).unwrap();
        assert_eq!((mark.index, mark.revision), (Some(77), Revision(9)));
        let (copy, _) = Tables::open(&to, &config()).unwrap();
        assert_eq!(rows(&copy), plain(before));
        assert!(!dir.path().join("incoming").exists());
    }

    #[tokio::test]
    async fn a_damaged_part_shows() {
        let dir = tempfile::tempdir().unwrap();
        let tables = filled(&dir.path().join("from"));
        let (parts, totals) = parts_of(&tables).await;
        let mut flipped = parts.clone();
        let mut bytes = flipped[1].to_vec();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        flipped[1] = bytes.into();
        assert_ne!(write(dir.path(), flipped).await.unwrap().totals(), totals);
        let mut swapped = parts.clone();
        swapped.swap(1, 2);
        assert!(write(dir.path(), swapped).await.is_err(), "rows out of order");
        let cut: Vec<Bytes> = vec![parts[0].slice(..parts[0].len() - 3)];
        assert!(write(dir.path(), cut).await.is_err(), "half a row");
    }
}
