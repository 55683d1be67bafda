//! `subPath`: a part of a volume, found without ever leaving the volume, even when a container plays with links.
//! The part is opened beneath the volume's root and bind-mounted by its descriptor, so that nothing can be swapped
//! between check and use.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, open, openat2};
use rustix::io::Errno;
use rustix::mount::mount_bind;

/// Mounts `sub_path` of the volume at `root` onto `target`; makes missing directories.
pub(super) fn bind(root: &Path, sub_path: &str, target: &Path) -> Result<(), String> {
    let relative = Path::new(sub_path);
    if relative.components().any(|c| !matches!(c, Component::Normal(_) | Component::CurDir)) {
        return Err(format!("{sub_path:?} must be relative and may not contain \"..\""));
    }
    let base = open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| format!("opening {}: {e}", root.display()))?;
    let part = reach(&base, relative).map_err(|e| format!("opening {sub_path:?} inside the volume: {e}"))?;
    let is_dir = rustix::fs::fstat(&part).is_ok_and(|s| (s.st_mode & libc::S_IFMT) == libc::S_IFDIR);
    prepare(target, is_dir).map_err(|e| format!("preparing {}: {e}", target.display()))?;
    mount_bind(format!("/proc/self/fd/{}", part.as_raw_fd()), target)
        .map_err(|e| format!("mounting {sub_path:?} at {}: {e}", target.display()))
}

/// Opens `relative` beneath `base`, making directories that do not exist.
fn reach(base: &OwnedFd, relative: &Path) -> Result<OwnedFd, Errno> {
    match beneath(base, relative) {
        Err(Errno::NOENT) => {}
        other => return other,
    }
    let mut made = std::path::PathBuf::new();
    for component in relative.components() {
        let parent = if made.as_os_str().is_empty() { Path::new(".") } else { &made };
        let dir = beneath(base, parent)?;
        let name = component.as_os_str();
        match mkdirat(dir.as_fd(), name, Mode::from_raw_mode(0o750)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        made.push(name);
    }
    beneath(base, relative)
}

fn beneath(base: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    openat2(
        base,
        path,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
    )
}

fn prepare(target: &Path, is_dir: bool) -> std::io::Result<()> {
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    // What an earlier run of the container had mounted here.
    super::empty_dir::unmount_all_at(target).map_err(|e| std::io::Error::other(e.sentence()))?;
    match fs::symlink_metadata(target) {
        Ok(meta) if meta.is_dir() == is_dir => return Ok(()),
        Ok(meta) if meta.is_dir() => fs::remove_dir(target)?,
        Ok(_) => fs::remove_file(target)?,
        Err(_) => {}
    }
    if is_dir { fs::create_dir(target) } else { fs::File::create(target).map(drop) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_out_of_the_volume_are_refused_and_missing_directories_are_made() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("v");
        fs::create_dir(&root).unwrap();
        std::os::unix::fs::symlink("/etc", root.join("out")).unwrap();
        std::os::unix::fs::symlink("..", root.join("up")).unwrap();
        fs::write(root.join("f"), "x").unwrap();
        std::os::unix::fs::symlink("f", root.join("in")).unwrap();
        let base = open(&root, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        assert_eq!(reach(&base, Path::new("out/passwd")).unwrap_err(), Errno::XDEV);
        assert_eq!(reach(&base, Path::new("up")).unwrap_err(), Errno::XDEV);
        assert!(reach(&base, Path::new("in")).is_ok());
        assert!(reach(&base, Path::new("a/b/c")).is_ok());
        assert!(root.join("a/b/c").is_dir());
    }
}
