//! Small files that other processes read: replaced whole or not at all. And advisory locks between our processes.

use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Whether the content must survive a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sync {
    /// After a power cut the file may be old or missing: its subject is gone too.
    No,
    /// The new content is on disk when the call returns.
    Yes,
}

/// Replaces `path` by `content`: readers see the old or the new file. Mode 0600.
pub(crate) fn replace(path: &Path, content: &[u8], sync: Sync) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(content)?;
    if sync == Sync::Yes {
        file.sync_data()?;
    }
    drop(file);
    std::fs::rename(&temporary, path)?;
    if sync == Sync::Yes
        && let Some(parent) = path.parent()
    {
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

/// The content of `path`, at most `bytes_max`; nothing when there is no such file.
pub(crate) fn read(path: &Path, bytes_max: u64) -> std::io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    read_bounded(file, bytes_max).map(Some)
}

/// Everything of `file`, or an error when it is longer than `bytes_max`.
pub(crate) fn read_bounded(file: impl Read, bytes_max: u64) -> std::io::Result<Vec<u8>> {
    let mut content = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut content)?;
    if content.len() as u64 > bytes_max {
        return Err(std::io::Error::new(
            std::io::ErrorKind::FileTooLarge,
            format!("longer than {bytes_max} bytes"),
        ));
    }
    Ok(content)
}

/// Removes a file that may be absent.
pub(crate) fn remove_file(path: &Path) -> std::io::Result<()> {
    absent_is_fine(std::fs::remove_file(path))
}

/// Removes a directory tree that may be absent. Does not follow links.
pub(crate) fn remove_tree(path: &Path) -> std::io::Result<()> {
    absent_is_fine(std::fs::remove_dir_all(path))
}

fn absent_is_fine(result: std::io::Result<()>) -> std::io::Result<()> {
    match result {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// A held advisory lock; dropping it releases.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// How a lock is taken.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mode {
    /// Together with other shared holders.
    Shared,
    /// Alone.
    Exclusive,
}

impl Lock {
    /// Waits for the lock on `path`, which is created.
    pub(crate) fn wait(path: &Path, mode: Mode) -> std::io::Result<Self> {
        let file = open_lock(path)?;
        let operation = match mode {
            Mode::Shared => FlockOperation::LockShared,
            Mode::Exclusive => FlockOperation::LockExclusive,
        };
        flock(&file, operation)?;
        Ok(Self { _file: file })
    }

    /// Takes the lock alone if nobody has it.
    pub(crate) fn try_exclusive(path: &Path) -> std::io::Result<Option<Self>> {
        let file = open_lock(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn open_lock(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaced_file_is_whole_and_leaves_no_temporary() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        replace(&path, b"one", Sync::No).unwrap();
        replace(&path, b"two", Sync::Yes).unwrap();
        assert_eq!(read(&path, 10).unwrap().unwrap(), b"two");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(read(&path, 2).is_err());
        assert!(read(&dir.path().join("y"), 2).unwrap().is_none());
    }

    #[test]
    fn exclusive_lock_is_held_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = Lock::wait(&path, Mode::Exclusive).unwrap();
        assert!(Lock::try_exclusive(&path).unwrap().is_none());
        drop(held);
        assert!(Lock::try_exclusive(&path).unwrap().is_some());
    }
}
