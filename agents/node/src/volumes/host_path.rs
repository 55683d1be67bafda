//! `hostPath`: a path of the node, checked or made as its type says.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use k8s_openapi::api::core::v1::HostPathVolumeSource;

use super::error::VolumeError;

/// Checks or makes the path.
pub(super) fn set_up(source: &HostPathVolumeSource) -> Result<(), VolumeError> {
    let path = Path::new(&source.path);
    let meta = fs::metadata(path).ok();
    let wrong = |wanted: &'static str| VolumeError::HostPathType { path: source.path.clone(), wanted };
    let holds = |test: fn(&fs::Metadata) -> bool| meta.as_ref().is_some_and(test);
    match source.type_.as_deref().unwrap_or_default() {
        "" => Ok(()),
        "DirectoryOrCreate" if meta.is_none() => {
            fs::create_dir_all(path).map_err(VolumeError::io("creating", path))?;
            set_mode(path, 0o755)
        }
        "FileOrCreate" if meta.is_none() => {
            fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(path)
                .map_err(VolumeError::io("creating", path))?;
            set_mode(path, 0o644)
        }
        "Directory" | "DirectoryOrCreate" if holds(fs::Metadata::is_dir) => Ok(()),
        "File" | "FileOrCreate" if holds(fs::Metadata::is_file) => Ok(()),
        "Socket" if holds(|m| m.file_type().is_socket()) => Ok(()),
        "CharDevice" if holds(|m| m.file_type().is_char_device()) => Ok(()),
        "BlockDevice" if holds(|m| m.file_type().is_block_device()) => Ok(()),
        "Directory" | "DirectoryOrCreate" => Err(wrong("a directory")),
        "File" | "FileOrCreate" => Err(wrong("a file")),
        "Socket" => Err(wrong("a socket file")),
        "CharDevice" => Err(wrong("a character device")),
        "BlockDevice" => Err(wrong("a block device")),
        other => Err(VolumeError::Unsupported(format!("hostPath.type={other}"))),
    }
}

fn set_mode(path: &Path, mode: u32) -> Result<(), VolumeError> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(VolumeError::io("setting the mode of", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(path: &Path, kind: &str) -> Result<(), String> {
        let source = HostPathVolumeSource { path: path.to_str().unwrap().into(), type_: Some(kind.into()) };
        set_up(&source).map_err(|e| e.to_string())
    }

    #[test]
    fn types_are_checked_and_made() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        assert!(run(&path, "Directory").unwrap_err().ends_with("is not a directory"));
        assert!(run(&path, "").is_ok());
        assert!(run(&path, "FileOrCreate").is_ok() && path.is_file());
        assert!(run(&path, "File").is_ok());
        assert!(run(&path, "Socket").unwrap_err().ends_with("is not a socket file"));
        assert!(run(&dir.path().join("d/e"), "DirectoryOrCreate").is_ok());
        assert!(run(&path, "Door").unwrap_err().contains("not supported"));
    }
}
