//! `fsGroup`: who may read and write a volume.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown};
use std::path::Path;

use super::error::VolumeError;

const SETGID: u32 = 0o2000;

/// The group that owns a volume's files, if the pod states one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    pub group: Option<u32>,
}

impl Owner {
    /// Mode of a directory: the group may enter, and new files inherit it.
    pub(super) fn directory_mode(self, mode: u32) -> u32 {
        if self.group.is_some() { mode | SETGID | 0o110 | 0o440 } else { mode }
    }

    /// Mode of a file that containers only read.
    pub(super) fn read_only_file_mode(self, mode: u32) -> u32 {
        if self.group.is_some() { mode | 0o440 } else { mode }
    }

    /// Gives one directory to the group.
    pub(super) fn directory(self, dir: &Path) -> Result<(), VolumeError> {
        match self.group {
            Some(group) => {
                chown(dir, None, Some(group)).map_err(VolumeError::io("changing the owner of", dir))
            }
            None => Ok(()),
        }
    }

    /// Gives every directory from `dir` up to (without) `root` to the group.
    pub(super) fn directories(self, root: &Path, dir: &Path) -> Result<(), VolumeError> {
        for dir in dir.ancestors().take_while(|d| *d != root) {
            self.directory(dir)?;
            fs::set_permissions(dir, fs::Permissions::from_mode(self.directory_mode(0o755)))
                .map_err(VolumeError::io("setting the mode of", dir))?;
        }
        Ok(())
    }

    /// Gives a writable volume and all in it to the group. `on_mismatch`: leave it when its root is already right.
    pub(super) fn apply(self, root: &Path, on_mismatch: bool) -> Result<(), VolumeError> {
        let Some(group) = self.group else { return Ok(()) };
        if on_mismatch {
            let meta = fs::metadata(root).map_err(VolumeError::io("reading", root))?;
            let wanted = SETGID | 0o770;
            if meta.gid() == group && meta.permissions().mode() & wanted == wanted {
                return Ok(());
            }
        }
        let mut open = vec![root.to_path_buf()];
        while let Some(dir) = open.pop() {
            for entry in fs::read_dir(&dir).map_err(VolumeError::io("listing", &dir))? {
                let path = entry.map_err(VolumeError::io("listing", &dir))?.path();
                let meta = fs::symlink_metadata(&path).map_err(VolumeError::io("reading", &path))?;
                if meta.is_dir() {
                    open.push(path);
                } else {
                    lchown(&path, None, Some(group))
                        .map_err(VolumeError::io("changing the owner of", &path))?;
                    if !meta.is_symlink() {
                        set(&path, meta.permissions().mode() | 0o660)?;
                    }
                }
            }
            chown(&dir, None, Some(group)).map_err(VolumeError::io("changing the owner of", &dir))?;
            let mode = fs::metadata(&dir).map_err(VolumeError::io("reading", &dir))?.permissions().mode();
            set(&dir, mode | SETGID | 0o770)?;
        }
        Ok(())
    }
}

fn set(path: &Path, mode: u32) -> Result<(), VolumeError> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o7777))
        .map_err(VolumeError::io("setting the mode of", path))
}
