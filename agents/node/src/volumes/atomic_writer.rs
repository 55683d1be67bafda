//! Writes a volume's files so that a reader sees the old set or the new set, never a mix: the files live in a
//! timestamped directory, `..data` points at it, and each visible name points through `..data` (upstream's layout).

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::Path;

use super::error::VolumeError;
use super::ownership::Owner;
use super::payload::Payload;

const DATA: &str = "..data";
const DATA_NEW: &str = "..data_tmp";

/// Makes `dir` show exactly `files`. `stamp` names the new directory; it must not have been used in `dir` before.
/// True when something changed.
pub(super) fn write(dir: &Path, files: &Payload, stamp: &str, owner: Owner) -> Result<bool, VolumeError> {
    fs::create_dir_all(dir).map_err(VolumeError::io("creating", dir))?;
    let data = dir.join(DATA);
    let old = fs::read_link(&data).ok();
    if let Some(old) = &old
        && same(&dir.join(old), files)
    {
        return Ok(false);
    }
    let name = format!("..{stamp}");
    let fresh = dir.join(&name);
    fs::create_dir(&fresh).map_err(VolumeError::io("creating", &fresh))?;
    owner.directory(&fresh)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(owner.directory_mode(0o755)))
        .map_err(VolumeError::io("setting the mode of", &fresh))?;
    for (path, file) in files {
        write_file(&fresh, path, file, owner)?;
    }
    let temporary = dir.join(DATA_NEW);
    // Left over from an agent that was killed.
    fs::remove_file(&temporary).ok();
    symlink(&name, &temporary).map_err(VolumeError::io("linking", &temporary))?;
    fs::rename(&temporary, &data).map_err(VolumeError::io("replacing", &data))?;
    show(dir, files)?;
    remove_old(dir, &name)?;
    Ok(true)
}

fn write_file(
    fresh: &Path,
    path: &str,
    file: &super::payload::File,
    owner: Owner,
) -> Result<(), VolumeError> {
    use std::io::Write;
    let target = fresh.join(path);
    if let Some(parent) = target.parent().filter(|p| *p != fresh) {
        fs::create_dir_all(parent).map_err(VolumeError::io("creating", parent))?;
        owner.directories(fresh, parent)?;
    }
    let mut handle = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&target)
        .map_err(VolumeError::io("creating", &target))?;
    handle.write_all(&file.bytes).map_err(VolumeError::io("writing", &target))?;
    if file.user.is_some() || owner.group.is_some() {
        chown(&target, file.user, owner.group).map_err(VolumeError::io("changing the owner of", &target))?;
    }
    let mode = owner.read_only_file_mode(file.mode);
    fs::set_permissions(&target, fs::Permissions::from_mode(mode))
        .map_err(VolumeError::io("setting the mode of", &target))
}

/// The visible names: one link for each first path component.
fn show(dir: &Path, files: &Payload) -> Result<(), VolumeError> {
    let wanted: BTreeSet<&str> = files.keys().filter_map(|p| p.split('/').next()).collect();
    for entry in fs::read_dir(dir).map_err(VolumeError::io("listing", dir))? {
        let entry = entry.map_err(VolumeError::io("listing", dir))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with("..") && !wanted.contains(name.as_ref()) {
            let path = entry.path();
            fs::remove_file(&path).map_err(VolumeError::io("removing", &path))?;
        }
    }
    for name in wanted {
        let link = dir.join(name);
        if fs::symlink_metadata(&link).is_err() {
            let target = Path::new(DATA).join(name);
            symlink(target, &link).map_err(VolumeError::io("linking", &link))?;
        }
    }
    Ok(())
}

fn remove_old(dir: &Path, current: &str) -> Result<(), VolumeError> {
    for entry in fs::read_dir(dir).map_err(VolumeError::io("listing", dir))? {
        let entry = entry.map_err(VolumeError::io("listing", dir))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("..") && !matches!(name.as_ref(), DATA | DATA_NEW) && name != current {
            let path = entry.path();
            fs::remove_dir_all(&path).map_err(VolumeError::io("removing", &path))?;
        }
    }
    Ok(())
}

/// Whether `data` holds exactly these files with these bytes.
fn same(data: &Path, files: &Payload) -> bool {
    let mut found = 0;
    let mut open = vec![data.to_path_buf()];
    while let Some(dir) = open.pop() {
        let Ok(entries) = fs::read_dir(&dir) else { return false };
        for entry in entries {
            let Ok(entry) = entry else { return false };
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let Some(name) = path.strip_prefix(data).ok().and_then(Path::to_str) else { return false };
            let Some(wanted) = files.get(name) else { return false };
            if fs::read(&path).ok().as_deref() != Some(wanted.bytes.as_slice()) {
                return false;
            }
            found += 1;
        }
    }
    found == files.len()
}

#[cfg(test)]
mod tests {
    use super::super::payload::File;
    use super::*;

    fn files(list: &[(&str, &str)]) -> Payload {
        list.iter()
            .map(|(p, t)| ((*p).to_owned(), File { bytes: t.as_bytes().to_vec(), mode: 0o640, user: None }))
            .collect()
    }

    #[test]
    fn an_update_replaces_all_names_at_once_and_removes_the_old_ones() {
        let dir = tempfile::tempdir().unwrap();
        let owner = Owner { group: None };
        assert!(write(dir.path(), &files(&[("a", "1"), ("d/b", "2")]), "one", owner).unwrap());
        assert_eq!(fs::read_to_string(dir.path().join("d/b")).unwrap(), "2");
        assert_eq!(fs::read_link(dir.path().join("a")).unwrap(), Path::new("..data/a"));
        assert_eq!(fs::metadata(dir.path().join("a")).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(!write(dir.path(), &files(&[("a", "1"), ("d/b", "2")]), "two", owner).unwrap());
        assert!(write(dir.path(), &files(&[("a", "3")]), "three", owner).unwrap());
        assert_eq!(fs::read_to_string(dir.path().join("a")).unwrap(), "3");
        assert!(!dir.path().join("d").exists());
        let mut left: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["..data", "..three", "a"]);
    }
}
