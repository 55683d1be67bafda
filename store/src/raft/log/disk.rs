//! The seam under the log: every call to the file system goes through here, so that tests can lose unsynced writes, fill the disk and fail a
//! sync. Nothing above may touch files in another way.
use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A file system. Every call may block.
#[cfg_attr(not(feature = "sim"), allow(unreachable_pub, reason = "only simulations see it"))]
pub trait Disk: Debug + Send + Sync {
    /// The paths in a directory.
    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>>;
    /// A file that exists, to be read and written.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// An empty file, in place of whatever is there.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// All of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// The size of a file in bytes.
    fn size(&self, path: &Path) -> io::Result<u64>;
    /// Renames a file, over another if there is one. Durable after the next [`Disk::sync_directory`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Deletes a file. Durable after the next [`Disk::sync_directory`].
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes renames and deletions in a directory durable.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;
    /// The free space where a path is, in bytes.
    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
    /// How long the next sync takes by the clock of a simulation, in which the call itself takes no time.
    fn sync_delay(&self) -> Duration {
        Duration::ZERO
    }
}

/// An open file. What was written is durable after the next sync that succeeds; after one that failed nobody knows.
#[cfg_attr(not(feature = "sim"), allow(unreachable_pub, reason = "only simulations see it"))]
pub trait DiskFile: Debug + Send + Sync {
    /// Writes all bytes at an offset.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Fills `bytes` from an offset.
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;
    /// Brings content to disk.
    fn sync_data(&self) -> io::Result<()>;
    /// Brings content and metadata to disk.
    fn sync_all(&self) -> io::Result<()>;
}

/// The operating system's file system.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OsDisk;

impl Disk for OsDisk {
    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(directory)?.map(|item| item.map(|item| item.path())).collect()
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(OpenOptions::new().read(true).write(true).open(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn size(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path)?.len())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

impl DiskFile for File {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(self, bytes, offset)
    }

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn sync_all(&self) -> io::Result<()> {
        File::sync_all(self)
    }
}
