//! The files of the log on disk: named by number, preallocated with zeros, used again.
//!
//! A file gets its name only when its header and first record are synced, so a named file is always whole at its beginning.
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Disk, DiskFile};
use super::record::{self, FILE_HEADER_BYTES, FileHeader, Place, Record};

/// So many files wait to be used again; more are deleted.
const SPARES_MAX: usize = 2;
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// The directory of the log.
#[derive(Clone, Debug)]
pub(super) struct Directory {
    pub(super) path: PathBuf,
    pub(super) cluster_id: u64,
    pub(super) file_bytes: u64,
    pub(super) disk: Arc<dyn Disk>,
}

/// What the directory holds.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) files: Vec<(u64, PathBuf)>,
    pub(super) spares: Vec<PathBuf>,
}

impl Directory {
    pub(super) fn path_of(&self, number: u64) -> PathBuf {
        self.path.join(format!("{number:016x}.log"))
    }

    /// Deletes files that were never finished.
    pub(super) fn remove_unfinished(&self) -> io::Result<()> {
        for path in self.disk.list(&self.path)? {
            if path.extension().is_some_and(|extension| extension == "new") {
                self.disk.remove(&path)?;
            }
        }
        Ok(())
    }

    /// The numbered files in order, and the spare ones.
    pub(super) fn list(&self) -> io::Result<Listing> {
        let mut listing = Listing::default();
        for path in self.disk.list(&self.path)? {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let Some(stem) = name.strip_suffix(".log") else { continue };
            if name.starts_with("spare-") {
                listing.spares.push(path);
            } else if let Ok(number) = u64::from_str_radix(stem, 16) {
                listing.files.push((number, path));
            }
        }
        listing.files.sort();
        Ok(listing)
    }

    /// Begins a file: from a spare one if there is one, with its header and first record on disk.
    pub(super) fn begin(&self, number: u64, state: &Record) -> io::Result<Arc<dyn DiskFile>> {
        let source = match self.list()?.spares.into_iter().next() {
            Some(spare) if self.disk.size(&spare)? == self.file_bytes => spare,
            Some(other_size) => {
                self.disk.remove(&other_size)?;
                self.preallocate()?
            }
            None => self.preallocate()?,
        };
        let file = self.disk.open(&source)?;
        let mut content =
            FileHeader { file: number, cluster_id: self.cluster_id, bytes: self.file_bytes }.encode();
        let place = Place { file: number, offset: FILE_HEADER_BYTES, durable: FILE_HEADER_BYTES };
        record::encode(state, place, &mut content);
        file.write_all_at(&content, 0)?;
        file.sync_all()?;
        self.disk.rename(&source, &self.path_of(number))?;
        self.disk.sync_directory(&self.path)?;
        Ok(file)
    }

    /// Makes a spare file unless there is one.
    pub(super) fn ensure_spare(&self) -> io::Result<()> {
        if self.list()?.spares.is_empty() {
            self.preallocate()?;
        }
        Ok(())
    }

    /// A new file full of zeros: writing them now makes later syncs cheap.
    fn preallocate(&self) -> io::Result<PathBuf> {
        let unfinished = self.path.join("spare.new");
        let written = self.write_zeros(&unfinished);
        if let Err(error) = written {
            // A full disk must not stay full because of half a spare file.
            if let Err(second) = self.disk.remove(&unfinished) {
                tracing::warn!(error = %second, "could not remove an unfinished log file");
            }
            return Err(error);
        }
        self.add_spare(&unfinished)
    }

    fn write_zeros(&self, path: &Path) -> io::Result<()> {
        let file = self.disk.create(path)?;
        let mut offset = 0;
        while offset < self.file_bytes {
            let chunk = ZEROS.get(..(self.file_bytes - offset) as usize).unwrap_or(&ZEROS);
            file.write_all_at(chunk, offset)?;
            offset += chunk.len() as u64;
        }
        file.sync_all()
    }

    /// Takes a file that is not needed any more out of the log.
    pub(super) fn retire(&self, path: &Path) -> io::Result<()> {
        if self.list()?.spares.len() >= SPARES_MAX || self.disk.size(path)? != self.file_bytes {
            self.disk.remove(path)
        } else {
            self.add_spare(path).map(|_path| ())
        }
    }

    fn add_spare(&self, path: &Path) -> io::Result<PathBuf> {
        let taken = self.list()?.spares;
        let free = (0..=taken.len())
            .map(|number| self.path.join(format!("spare-{number}.log")))
            .find(|name| !taken.contains(name));
        let name = free.ok_or_else(|| io::Error::other("no free name for a spare log file"))?;
        self.disk.rename(path, &name)?;
        self.disk.sync_directory(&self.path)?;
        Ok(name)
    }
}
