//! Unpacks one layer's tar into its own directory, as an overlay lower directory. The tar is hostile: no entry may
//! touch anything outside the directory, whatever links it made before. All lookups go through `openat2` with
//! `RESOLVE_IN_ROOT`, the last component is never followed, and device numbers, names, sizes and counts are bounded.
//!
//! OCI whiteouts become overlay's: `.wh.x` a 0:0 character device, `.wh..wh..opq` the opaque attribute.

use crate::failure::{Attempt, Failure, Result};
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use std::cell::Cell;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

/// Most bytes of headers, long names and attributes before one entry's content.
const HEADER_BYTES_MAX: u64 = 1 << 20;
const PATH_BYTES_MAX: usize = 4096;
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Unpacks the tar `input` into the existing empty directory `target`.
pub(crate) fn unpack(input: impl Read, target: &Path, entries_max: u64) -> Result<()> {
    let allowance = Rc::new(Cell::new(HEADER_BYTES_MAX));
    let mut archive = tar::Archive::new(Rationed { inner: input, left: Rc::clone(&allowance) });
    let root =
        rustix::fs::openat(CWD, target, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .attempt("opening the layer directory")?;
    let layer = LayerDir { root };
    let mut directory_times = Vec::new();
    let mut entries = archive.entries().attempt("reading the layer's tar")?;
    let mut count: u64 = 0;
    loop {
        allowance.set(HEADER_BYTES_MAX);
        let Some(entry) = entries.next() else { break };
        let mut entry = entry.attempt("reading a tar header of the layer").map_err(invalid)?;
        count += 1;
        if count > entries_max {
            return Err(Failure::exhausted(format!("the layer has more than {entries_max} entries")));
        }
        let path = entry.path_bytes().into_owned();
        allowance.set(u64::MAX);
        let shown = || format!("unpacking {:?}", String::from_utf8_lossy(&path));
        if let Some(directory) = layer.apply(&mut entry, &path).map_err(|failure| failure.during(shown()))? {
            directory_times.push(directory);
        }
    }
    // Times of directories last: filling them changed these.
    for (path, times) in directory_times.into_iter().rev() {
        if let Ok(directory) = layer.open_directory(&path) {
            set_times(&directory, &times)?;
        }
    }
    Ok(())
}

fn invalid(failure: Failure) -> Failure {
    failure.with_code(mainstay_proto_wire::cri::Code::InvalidArgument)
}

/// A reader that gives out only what is allowed at the moment: bounds what `tar` buffers for one header.
struct Rationed<R> {
    inner: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Rationed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let left = self.left.get();
        if left == 0 {
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "a tar header is too large"));
        }
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.inner.read(buffer.get_mut(..wanted).unwrap_or_default())?;
        self.left.set(left - count as u64);
        Ok(count)
    }
}

struct LayerDir {
    root: OwnedFd,
}

impl LayerDir {
    /// Applies one entry. A directory's times are returned to be set at the end.
    fn apply<R: Read>(
        &self,
        entry: &mut tar::Entry<'_, R>,
        raw_path: &[u8],
    ) -> Result<Option<(PathBuf, Timestamps)>> {
        let path = confine(raw_path)?;
        let kind = entry.header().entry_type();
        if matches!(kind, tar::EntryType::XGlobalHeader) {
            return Ok(None);
        }
        let times = times_of(entry.header());
        let Some(name) = path.file_name().map(OsStr::to_owned) else {
            return if kind.is_dir() {
                apply_metadata(self.root.as_fd(), entry)?;
                Ok(Some((path, times)))
            } else {
                Err(Failure::invalid("the entry has no name"))
            };
        };
        let parent = self.make_directories(path.parent().unwrap_or_else(|| Path::new("")))?;
        if name.as_bytes().starts_with(WHITEOUT) {
            whiteout(&parent, name.as_bytes())?;
            return Ok(None);
        }
        match kind {
            tar::EntryType::Directory => {
                make_directory(&parent, &name)?;
                let directory = open_child_directory(&parent, &name)?;
                apply_metadata(directory.as_fd(), entry)?;
                return Ok(Some((path, times)));
            }
            tar::EntryType::Regular | tar::EntryType::Continuous | tar::EntryType::GNUSparse => {
                clear(&parent, &name)?;
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = rustix::fs::openat(&parent, &name, flags, Mode::from_raw_mode(0o600))
                    .attempt("creating the file")?;
                let mut file = File::from(file);
                std::io::copy(entry, &mut file).attempt("writing the file")?;
                apply_metadata(file.as_fd(), entry)?;
                set_times(&OwnedFd::from(file), &times)?;
            }
            tar::EntryType::Symlink => {
                let target =
                    entry.link_name_bytes().ok_or_else(|| Failure::invalid("the link has no target"))?;
                clear(&parent, &name)?;
                rustix::fs::symlinkat(OsStr::from_bytes(&target), &parent, &name)
                    .attempt("making the link")?;
                own_link(&parent, &name, entry.header())?;
            }
            tar::EntryType::Link => self.hard_link(entry, &parent, &name)?,
            tar::EntryType::Char | tar::EntryType::Block | tar::EntryType::Fifo => {
                clear(&parent, &name)?;
                special(&parent, &name, entry.header())?;
            }
            other => {
                return Err(Failure::invalid(format!("tar entry type {other:?} is not allowed in a layer")));
            }
        }
        Ok(None)
    }

    /// Links to a file of the same layer. The target is looked up inside the layer and must be a plain file there.
    fn hard_link<R: Read>(&self, entry: &tar::Entry<'_, R>, parent: &OwnedFd, name: &OsStr) -> Result<()> {
        let raw = entry.link_name_bytes().ok_or_else(|| Failure::invalid("the hard link has no target"))?;
        let target = confine(&raw)?;
        let target_name =
            target.file_name().ok_or_else(|| Failure::invalid("the hard link's target has no name"))?;
        if target_name.as_bytes().starts_with(WHITEOUT) {
            return Err(Failure::invalid("a hard link may not point to a whiteout"));
        }
        let directory = self
            .open_directory(target.parent().unwrap_or_else(|| Path::new("")))
            .map_err(|failure| invalid(failure.during("finding the hard link's target")))?;
        let found = rustix::fs::statat(&directory, target_name, AtFlags::SYMLINK_NOFOLLOW)
            .attempt("finding the hard link's target")
            .map_err(invalid)?;
        let plain = matches!(
            FileType::from_raw_mode(found.st_mode),
            FileType::RegularFile | FileType::Symlink | FileType::Fifo
        );
        if !plain {
            return Err(Failure::invalid("the hard link's target is not a file"));
        }
        let same = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|existing| existing.st_ino == found.st_ino && existing.st_dev == found.st_dev);
        if same {
            return Ok(());
        }
        clear(parent, name)?;
        rustix::fs::linkat(&directory, target_name, parent, name, AtFlags::empty())
            .attempt("making the hard link")
    }

    /// Opens a directory of the layer; links on the way are resolved inside the layer.
    fn open_directory(&self, path: &Path) -> Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        rustix::fs::openat2(
            &self.root,
            path,
            OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        )
        .attempt_with(|| format!("opening {} in the layer", path.display()))
    }

    /// Opens a directory, making it and its parents where they are missing.
    fn make_directories(&self, path: &Path) -> Result<OwnedFd> {
        if let Ok(found) = self.open_directory(path) {
            return Ok(found);
        }
        let mut current = PathBuf::new();
        let mut directory = self.open_directory(&current)?;
        for component in path.components() {
            let Component::Normal(name) = component else { continue };
            current.push(name);
            directory = if let Ok(found) = self.open_directory(&current) {
                found
            } else {
                make_directory(&directory, name)?;
                self.open_directory(&current)?
            };
        }
        Ok(directory)
    }
}

/// A path relative to the layer's root. `..` and over-long paths are refused, a leading `/` is dropped.
fn confine(raw: &[u8]) -> Result<PathBuf> {
    if raw.len() > PATH_BYTES_MAX || raw.contains(&0) {
        return Err(Failure::invalid("the path is too long or has a NUL byte"));
    }
    let mut confined = PathBuf::new();
    for component in Path::new(OsStr::from_bytes(raw)).components() {
        match component {
            Component::Normal(name) => confined.push(name),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
            Component::ParentDir => return Err(Failure::invalid("the path leaves the layer with \"..\"")),
        }
    }
    Ok(confined)
}

fn whiteout(parent: &OwnedFd, name: &[u8]) -> Result<()> {
    if name == OPAQUE {
        return rustix::fs::fsetxattr(parent, "trusted.overlay.opaque", b"y", XattrFlags::empty())
            .attempt("marking the directory opaque");
    }
    let hidden = name.get(WHITEOUT.len()..).unwrap_or_default();
    if hidden.starts_with(WHITEOUT) {
        return Ok(()); // bookkeeping of aufs, means nothing here
    }
    if hidden.is_empty() || hidden == b"." || hidden == b".." {
        return Err(Failure::invalid("the whiteout names no file"));
    }
    let hidden = OsStr::from_bytes(hidden);
    let present = rustix::fs::statat(parent, hidden, AtFlags::SYMLINK_NOFOLLOW).is_ok();
    if present {
        return Ok(()); // the layer itself brings this name: that wins
    }
    rustix::fs::mknodat(parent, hidden, FileType::CharacterDevice, Mode::empty(), 0)
        .attempt("making the whiteout")
}

fn make_directory(parent: &OwnedFd, name: &OsStr) -> Result<()> {
    match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::EXIST) => {
            let found =
                rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).attempt("looking at the name")?;
            if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
                return Ok(());
            }
            rustix::fs::unlinkat(parent, name, AtFlags::empty())
                .attempt("replacing a file by a directory")?;
            rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)).attempt("making the directory")
        }
        Err(error) => Err(error).attempt("making the directory"),
    }
}

fn open_child_directory(parent: &OwnedFd, name: &OsStr) -> Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty()).attempt("opening the directory")
}

/// Makes room for an entry: an earlier entry of the same name goes, unless it is a directory with content.
fn clear(parent: &OwnedFd, name: &OsStr) -> Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(rustix::io::Errno::ISDIR | rustix::io::Errno::PERM) => {
            rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR).attempt("replacing a directory")
        }
        Err(error) => Err(error).attempt("replacing an earlier entry"),
    }
}

fn special(parent: &OwnedFd, name: &OsStr, header: &tar::Header) -> Result<()> {
    let (kind, device) = match header.entry_type() {
        tar::EntryType::Fifo => (FileType::Fifo, 0),
        other => {
            let major = header.device_major().attempt("reading the device number")?.unwrap_or(0);
            let minor = header.device_minor().attempt("reading the device number")?.unwrap_or(0);
            let kind =
                if other == tar::EntryType::Char { FileType::CharacterDevice } else { FileType::BlockDevice };
            (kind, rustix::fs::makedev(major, minor))
        }
    };
    let mode = Mode::from_raw_mode(header.mode().attempt("reading the mode")? & 0o7777);
    rustix::fs::mknodat(parent, name, kind, mode, device).attempt("making the node")?;
    own_link(parent, name, header)
}

fn owner(header: &tar::Header) -> Result<(Uid, Gid)> {
    let number = |value: u64| {
        u32::try_from(value)
            .ok()
            .filter(|id| *id != u32::MAX)
            .ok_or_else(|| Failure::invalid("the owner is out of range"))
    };
    // Some writers leave the field empty, as tar always read it: nobody said otherwise, so root.
    let blank = |field: &[u8]| field.iter().all(|byte| matches!(byte, 0 | b' '));
    let old = header.as_old();
    let uid = if blank(&old.uid) { 0 } else { header.uid().attempt("reading the owner").map_err(invalid)? };
    let gid = if blank(&old.gid) { 0 } else { header.gid().attempt("reading the group").map_err(invalid)? };
    let (uid, gid) = (number(uid)?, number(gid)?);
    Ok((Uid::from_raw(uid), Gid::from_raw(gid)))
}

fn own_link(parent: &OwnedFd, name: &OsStr, header: &tar::Header) -> Result<()> {
    let (uid, gid) = owner(header)?;
    rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
        .attempt("setting the owner")
}

/// Owner, then mode (a change of owner clears set-user-id), then the extended attributes that images may carry.
fn apply_metadata<R: Read>(file: impl AsFd, entry: &mut tar::Entry<'_, R>) -> Result<()> {
    let (uid, gid) = owner(entry.header())?;
    rustix::fs::fchown(&file, Some(uid), Some(gid)).attempt("setting the owner")?;
    let mode = entry.header().mode().attempt("reading the mode").map_err(invalid)?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode & 0o7777)).attempt("setting the mode")?;
    let Some(extensions) = entry.pax_extensions().attempt("reading the attributes")? else { return Ok(()) };
    for extension in extensions {
        let extension = extension.attempt("reading an attribute").map_err(invalid)?;
        let Some(name) = extension.key_bytes().strip_prefix(b"SCHILY.xattr.") else { continue };
        // Never `trusted.overlay.*`: an image must not speak to the overlay filesystem.
        if name == b"security.capability" || name.starts_with(b"user.") {
            let name = OsStr::from_bytes(name);
            rustix::fs::fsetxattr(&file, name, extension.value_bytes(), XattrFlags::empty())
                .attempt_with(|| format!("setting the attribute {}", name.display()))?;
        }
    }
    Ok(())
}

fn times_of(header: &tar::Header) -> Timestamps {
    let seconds = header.mtime().ok().and_then(|seconds| i64::try_from(seconds).ok()).unwrap_or(0);
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

fn set_times(file: &OwnedFd, times: &Timestamps) -> Result<()> {
    rustix::fs::futimens(file, times).attempt("setting the times")
}

#[cfg(test)]
#[path = "layer_tests.rs"]
mod tests;
