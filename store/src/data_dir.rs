//! The data directory: whose it is, in which format, and that nobody else has it open.
use std::fs::{self, File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::api::OpenError;

/// The format of the directory as a whole. The log's files have versions of their own.
const FORMAT: u32 = 1;
const IDENTITY: &str = "store.json";
const LOCK: &str = "LOCK";

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Identity {
    format: u32,
    cluster_id: String,
    member_id: String,
}

/// A locked directory; the lock ends when this is dropped.
#[derive(Debug)]
pub(crate) struct DataDir {
    pub(crate) path: PathBuf,
    pub(crate) cluster_id: u64,
    pub(crate) member_id: u64,
    _lock: File,
}

impl DataDir {
    /// Locks the directory and reads its identity, or gives an empty one an identity. Blocks.
    /// `new` is the cluster and the member that an empty one becomes; none makes them up.
    pub(crate) fn open(
        path: &Path,
        wanted_cluster: Option<u64>,
        new: Option<(u64, u64)>,
    ) -> Result<Self, OpenError> {
        if path.as_os_str().is_empty() {
            return Err(OpenError::Config("dir is not set".into()));
        }
        fs::create_dir_all(path).map_err(io_error(path, "creating data directory"))?;
        let lock = lock(path)?;
        let identity = match fs::read(path.join(IDENTITY)) {
            Ok(bytes) => read_identity(path, &bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let cluster = || wanted_cluster.unwrap_or_else(|| random("cluster"));
                create(path, new.unwrap_or_else(|| (cluster(), random("member"))))?
            }
            Err(error) => return Err(io_error(path, "reading the identity of")(error)),
        };
        let number = |text: &str| u64::from_str_radix(text, 16).map_err(|_not_hex| not_readable(path));
        let data = Self {
            path: path.to_path_buf(),
            cluster_id: number(&identity.cluster_id)?,
            member_id: number(&identity.member_id)?,
            _lock: lock,
        };
        match wanted_cluster {
            Some(wanted) if wanted != data.cluster_id => {
                Err(OpenError::OtherCluster { dir: data.path, wanted, found: data.cluster_id })
            }
            _ => {
                for part in [data.log(), data.tables()] {
                    fs::create_dir_all(&part).map_err(io_error(&part, "creating"))?;
                }
                Ok(data)
            }
        }
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    pub(crate) fn tables(&self) -> PathBuf {
        self.path.join("tables")
    }
}

fn lock(path: &Path) -> Result<File, OpenError> {
    let name = path.join(LOCK);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&name)
        .map_err(io_error(path, "opening the lock of data directory"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { dir: path.to_path_buf(), lock: name }),
        Err(TryLockError::Error(error)) => Err(io_error(path, "locking data directory")(error)),
    }
}

fn create(path: &Path, (cluster_id, member_id): (u64, u64)) -> Result<Identity, OpenError> {
    let ours = [LOCK, "lost+found", "store.json.new"];
    let items = fs::read_dir(path).map_err(io_error(path, "listing data directory"))?;
    for item in items {
        let name = item.map_err(io_error(path, "listing data directory"))?.file_name();
        if !ours.iter().any(|own| name == *own) {
            return Err(OpenError::NotAStore { dir: path.to_path_buf() });
        }
    }
    let identity = Identity {
        format: FORMAT,
        cluster_id: format!("{cluster_id:016x}"),
        member_id: format!("{member_id:016x}"),
    };
    let text = serde_json::to_vec_pretty(&identity).map_err(|error| OpenError::Config(error.to_string()))?;
    let write = || -> io::Result<()> {
        let unfinished = path.join("store.json.new");
        let mut file = File::create(&unfinished)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&unfinished, path.join(IDENTITY))?;
        File::open(path)?.sync_all()
    };
    write().map_err(io_error(path, "writing the identity of"))?;
    Ok(identity)
}

/// Not zero, and different each time: the standard library seeds hash maps from the system's randomness.
pub(crate) fn random(purpose: &str) -> u64 {
    RandomState::new().hash_one(purpose).max(1)
}

fn read_identity(path: &Path, bytes: &[u8]) -> Result<Identity, OpenError> {
    #[derive(Deserialize)]
    struct Format {
        format: serde_json::Value,
    }
    // The format first: a later one may have other fields.
    let format: Format = serde_json::from_slice(bytes).map_err(|_not_json| not_readable(path))?;
    if format.format != FORMAT {
        return Err(OpenError::FormatVersion {
            dir: path.to_path_buf(),
            found: format.format.to_string(),
            supported: FORMAT,
        });
    }
    serde_json::from_slice(bytes).map_err(|_other_fields| not_readable(path))
}

fn not_readable(path: &Path) -> OpenError {
    OpenError::Damaged {
        file: path.join(IDENTITY),
        offset: 0,
        what: "it is not the identity of a store".into(),
    }
}

fn io_error(path: &Path, what: &str) -> impl FnOnce(io::Error) -> OpenError {
    let what = format!("{what} {}", path.display());
    move |source| OpenError::Io { what, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_keeps_its_identity() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::open(dir.path(), None, None).unwrap();
        let ids = (first.cluster_id, first.member_id);
        drop(first);
        let again = DataDir::open(dir.path(), Some(ids.0), None).unwrap();
        assert_eq!((again.cluster_id, again.member_id), ids);
    }

    #[test]
    fn a_directory_in_use_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let _first = DataDir::open(dir.path(), None, None).unwrap();
        let error = DataDir::open(dir.path(), None, None).unwrap_err();
        assert!(matches!(error, OpenError::InUse { .. }), "{error}");
        assert!(error.to_string().contains("in use"), "{error}");
    }

    #[test]
    fn a_directory_of_another_cluster_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        drop(DataDir::open(dir.path(), Some(7), None).unwrap());
        let error = DataDir::open(dir.path(), Some(8), None).unwrap_err();
        assert!(matches!(error, OpenError::OtherCluster { wanted: 8, found: 7, .. }), "{error}");
    }

    #[test]
    fn a_directory_of_another_format_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(IDENTITY), r#"{"format": 2, "shards": []}"#).unwrap();
        let error = DataDir::open(dir.path(), None, None).unwrap_err();
        assert!(
            matches!(&error, OpenError::FormatVersion { found, supported: 1, .. } if found == "2"),
            "{error}"
        );
    }

    #[test]
    fn a_directory_with_other_files_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.tex"), "").unwrap();
        let error = DataDir::open(dir.path(), None, None).unwrap_err();
        assert!(matches!(error, OpenError::NotAStore { .. }), "{error}");
        assert!(!dir.path().join(IDENTITY).exists());
    }
}
