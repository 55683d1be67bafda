//! The data directory: whose it is, in which format, and that nobody else has it open.
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::api::OpenError;
use crate::platform::random;

mod recovering;

pub(crate) use recovering::Recovering;

/// The format of the directory as a whole. The log's files have versions of their own. Since 2 a row of the tables may tell of many revisions.
const FORMAT: u32 = 2;
/// The oldest format that is read. A directory of an older one than ours becomes one of ours when it is opened.
const FORMAT_MIN: u32 = 1;
const IDENTITY: &str = "store.json";
const LOCK: &str = "LOCK";
/// Names the directory of the tables, once a snapshot has taken their place.
const TABLES: &str = "TABLES";
const FIRST_TABLES: &str = "tables";
const LOG: &str = "log";
/// The log of the cluster that a recovery ended, until the recovery has ended too.
const REPLACED_LOG: &str = "log.replaced";

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Identity {
    format: u32,
    cluster_id: String,
    member_id: String,
    #[serde(default)]
    joined: bool,
    #[serde(default)]
    restored: bool,
    /// Whom a restored member is to form a cluster with; empty if it stays alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    founders: Vec<Founder>,
    /// The clusters whose place this one has taken, hexadecimal: their members are turned away for good.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    supersedes: Vec<String>,
    /// The cluster and the member that a recovery, begun and not ended, makes of this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    recovering: Option<(String, String)>,
    /// A checksum of the others; the first version wrote none.
    #[serde(default)]
    check: Option<String>,
}

/// A member of a cluster that is restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Founder {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) peer_urls: Vec<String>,
}

impl Identity {
    fn new(new: NewIdentity) -> Self {
        Self {
            format: FORMAT,
            cluster_id: format!("{:016x}", new.cluster_id),
            member_id: format!("{:016x}", new.member_id),
            joined: new.joined,
            restored: false,
            founders: Vec::new(),
            supersedes: Vec::new(),
            recovering: None,
            check: None,
        }
    }

    fn sum(&self) -> String {
        let mut text = format!("{} {} {} {}", self.format, self.cluster_id, self.member_id, self.joined);
        if self.restored {
            text.push_str(" restored");
        }
        for Founder { id, name, peer_urls } in &self.founders {
            text.extend([format!(" {id:016x} {name:?} {peer_urls:?}")]);
        }
        for cluster in &self.supersedes {
            text.extend([format!(" supersedes {cluster}")]);
        }
        if let Some((cluster, member)) = &self.recovering {
            text.extend([format!(" recovering {cluster} {member}")]);
        }
        format!("{:08x}", crc32c::crc32c(text.as_bytes()))
    }
}

/// The identity that an empty directory gets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewIdentity {
    pub(crate) cluster_id: u64,
    pub(crate) member_id: u64,
    pub(crate) joined: bool,
}

/// A locked directory; the lock ends when this is dropped.
#[derive(Debug)]
pub(crate) struct DataDir {
    pub(crate) path: PathBuf,
    pub(crate) cluster_id: u64,
    pub(crate) member_id: u64,
    /// Whether the member joined a cluster that was there: it never forms one.
    pub(crate) joined: bool,
    /// Whether the tables were restored: they hold more than the log tells.
    pub(crate) restored: bool,
    /// The members that a restored cluster begins with; empty for any other, and for a member alone.
    pub(crate) founders: Vec<Founder>,
    /// The clusters whose place this one has taken.
    pub(crate) supersedes: Vec<u64>,
    tables: String,
    _lock: File,
}

impl DataDir {
    /// Locks the directory and reads its identity, or gives an empty one an identity. Blocks.
    /// `new` is what an empty one becomes; none makes it up.
    pub(crate) fn open(
        path: &Path,
        wanted_cluster: Option<u64>,
        new: Option<NewIdentity>,
    ) -> Result<Self, OpenError> {
        if path.as_os_str().is_empty() {
            return Err(OpenError::Config("dir is not set".into()));
        }
        fs::create_dir_all(path).map_err(io_error(path, "creating data directory"))?;
        let lock = lock(path)?;
        let identity = match fs::read(path.join(IDENTITY)) {
            Ok(bytes) => read_identity(path, &bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made_up = || NewIdentity {
                    cluster_id: wanted_cluster.unwrap_or_else(|| random("cluster")),
                    member_id: random("member"),
                    joined: false,
                };
                create(path, new.unwrap_or_else(made_up))?
            }
            Err(error) => return Err(io_error(path, "reading the identity of")(error)),
        };
        if identity.recovering.is_some() {
            return Err(OpenError::Recovering { dir: path.to_path_buf() });
        }
        let format = identity.format;
        let number = |text: &str| u64::from_str_radix(text, 16).map_err(|_not_hex| not_readable(path));
        let supersedes = identity.supersedes.iter().map(|cluster| number(cluster));
        let data = Self {
            path: path.to_path_buf(),
            cluster_id: number(&identity.cluster_id)?,
            member_id: number(&identity.member_id)?,
            joined: identity.joined,
            restored: identity.restored,
            supersedes: supersedes.collect::<Result<_, _>>()?,
            founders: identity.founders.clone(),
            tables: current_tables(path)?,
            _lock: lock,
        };
        match wanted_cluster {
            Some(wanted) if wanted != data.cluster_id => {
                Err(OpenError::OtherCluster { dir: data.path, wanted, found: data.cluster_id })
            }
            _ => {
                if format < FORMAT {
                    // Before the first row that an older program could not read.
                    write_identity(path, identity)?;
                    tracing::info!(dir = %path.display(), from = format, to = FORMAT, "the data directory has a newer format now");
                }
                for part in [data.log(), data.tables()] {
                    fs::create_dir_all(&part).map_err(io_error(&part, "creating"))?;
                }
                Ok(data)
            }
        }
    }

    /// Locks an empty directory that a restore is to fill. Blocks.
    pub(crate) fn prepare(path: &Path) -> Result<Unfinished, OpenError> {
        fs::create_dir_all(path).map_err(io_error(path, "creating data directory"))?;
        let lock = lock(path)?;
        check_empty(path)?;
        let unfinished = Unfinished { path: path.to_path_buf(), finished: false, _lock: lock };
        let tables = unfinished.tables();
        fs::create_dir_all(&tables).map_err(io_error(&tables, "creating"))?;
        Ok(unfinished)
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.path.join(LOG)
    }

    pub(crate) fn tables(&self) -> PathBuf {
        self.path.join(&self.tables)
    }
}

/// Whether the directory has an identity already, so that none need be found for it.
pub(crate) fn has_identity(path: &Path) -> bool {
    path.join(IDENTITY).exists()
}

/// The cluster that a data directory is of; none if it is no store's. Nothing is opened or locked.
///
/// # Errors
/// An identity that is damaged, or of another format.
pub fn cluster_of(dir: &Path) -> Result<Option<u64>, OpenError> {
    let bytes = match fs::read(dir.join(IDENTITY)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error(dir, "reading the identity of")(error)),
    };
    let identity = read_identity(dir, &bytes)?;
    u64::from_str_radix(&identity.cluster_id, 16).map(Some).map_err(|_not_hex| not_readable(dir))
}

/// The directory of the tables; what a crash left of others is removed.
fn current_tables(path: &Path) -> Result<String, OpenError> {
    let failed = io_error(path, "finding the tables of");
    let current = match fs::read_to_string(path.join(TABLES)) {
        Ok(name) => name.trim_end().to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => FIRST_TABLES.to_owned(),
        Err(error) => return Err(failed(error)),
    };
    let clear = || -> io::Result<()> {
        for item in fs::read_dir(path)? {
            let name = item?.file_name();
            let other = name.to_str().is_some_and(|name| {
                name == "incoming"
                    || name == REPLACED_LOG
                    || (name.starts_with(FIRST_TABLES) && name != current)
            });
            if other {
                fs::remove_dir_all(path.join(name))?;
            }
        }
        Ok(())
    };
    clear().map_err(failed)?;
    Ok(current)
}

/// Makes the directory `name` that of the tables, all at once. Returns the name of the one before.
pub(crate) fn switch_tables(path: &Path, name: &str) -> io::Result<String> {
    let before = fs::read_to_string(path.join(TABLES))
        .map_or_else(|_none_yet| FIRST_TABLES.to_owned(), |name| name.trim_end().to_owned());
    write_whole(path, TABLES, format!("{name}\n").as_bytes())?;
    Ok(before)
}

/// Writes a file so that a crash leaves the old content or the new.
fn write_whole(path: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let unfinished = path.join(format!("{name}.new"));
    let mut file = File::create(&unfinished)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&unfinished, path.join(name))?;
    File::open(path)?.sync_all()
}

/// A directory that is no store yet. Dropped before it is finished, it is empty again.
#[derive(Debug)]
pub(crate) struct Unfinished {
    path: PathBuf,
    finished: bool,
    _lock: File,
}

impl Unfinished {
    pub(crate) fn tables(&self) -> PathBuf {
        self.path.join(FIRST_TABLES)
    }

    /// Makes it a store, whose tables are on disk by now, and tells its cluster and member.
    pub(crate) fn finish(
        mut self,
        cluster_id: Option<u64>,
        member_id: Option<u64>,
        founders: Vec<Founder>,
        supersedes: &[u64],
    ) -> Result<(u64, u64), OpenError> {
        let ids =
            (cluster_id.unwrap_or_else(|| random("cluster")), member_id.unwrap_or_else(|| random("member")));
        let new = NewIdentity { cluster_id: ids.0, member_id: ids.1, joined: false };
        let supersedes = supersedes.iter().map(|cluster| format!("{cluster:016x}")).collect();
        write_identity(&self.path, Identity { restored: true, founders, supersedes, ..Identity::new(new) })?;
        self.finished = true;
        Ok(ids)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.finished
            && let Err(error) = fs::remove_dir_all(self.tables())
        {
            tracing::warn!(%error, dir = %self.path.display(), "an unfinished restore was left behind");
        }
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

fn create(path: &Path, new: NewIdentity) -> Result<Identity, OpenError> {
    check_empty(path)?;
    write_identity(path, Identity::new(new))
}

/// Nothing but what a store leaves before it has an identity.
fn check_empty(path: &Path) -> Result<(), OpenError> {
    let ours = [LOCK, "lost+found", "store.json.new"];
    let items = fs::read_dir(path).map_err(io_error(path, "listing data directory"))?;
    for item in items {
        let name = item.map_err(io_error(path, "listing data directory"))?.file_name();
        if !ours.iter().any(|own| name == *own) {
            return Err(OpenError::NotAStore { dir: path.to_path_buf() });
        }
    }
    Ok(())
}

/// Writes an identity, in our format.
fn write_identity(path: &Path, mut identity: Identity) -> Result<Identity, OpenError> {
    identity.format = FORMAT;
    identity.check = Some(identity.sum());
    let text = serde_json::to_vec_pretty(&identity).map_err(|error| OpenError::Config(error.to_string()))?;
    write_whole(path, IDENTITY, &text).map_err(io_error(path, "writing the identity of"))?;
    Ok(identity)
}

fn read_identity(path: &Path, bytes: &[u8]) -> Result<Identity, OpenError> {
    #[derive(Deserialize)]
    struct Format {
        format: serde_json::Value,
    }
    // The format first: a later one may have other fields.
    let format: Format = serde_json::from_slice(bytes).map_err(|_not_json| not_readable(path))?;
    let number = format.format.as_u64().and_then(|number| u32::try_from(number).ok());
    if !number.is_some_and(|number| (FORMAT_MIN..=FORMAT).contains(&number)) {
        return Err(OpenError::FormatVersion {
            dir: path.to_path_buf(),
            found: format.format.to_string(),
            supported: FORMAT,
        });
    }
    let identity: Identity = serde_json::from_slice(bytes).map_err(|_other_fields| not_readable(path))?;
    if identity.check.as_ref().is_some_and(|check| *check != identity.sum()) {
        return Err(not_readable(path));
    }
    Ok(identity)
}

fn not_readable(path: &Path) -> OpenError {
    OpenError::Damaged {
        file: path.join(IDENTITY),
        offset: 0,
        what: "it is not the identity of a store, or not as it was written".into(),
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
    fn an_identity_with_another_number_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let id = DataDir::open(dir.path(), None, None).unwrap().member_id;
        let text = fs::read_to_string(dir.path().join(IDENTITY)).unwrap();
        let other = text.replace(&format!("{id:016x}"), &format!("{:016x}", id ^ 1));
        fs::write(dir.path().join(IDENTITY), other).unwrap();
        assert!(matches!(DataDir::open(dir.path(), None, None).unwrap_err(), OpenError::Damaged { .. }));
    }

    #[test]
    fn a_directory_of_the_first_format_becomes_one_of_ours() {
        let dir = tempfile::tempdir().unwrap();
        // As the first version wrote it, and the last of that format.
        for check in ["", r#", "check": "b44f8676""#] {
            let first = r#"{"format": 1, "cluster_id": "0000000000000007", "member_id": "000000000000000b", "joined": true"#;
            fs::write(dir.path().join(IDENTITY), format!("{first}{check}}}")).unwrap();
            let data = DataDir::open(dir.path(), Some(7), None).unwrap();
            assert_eq!((data.cluster_id, data.member_id, data.joined), (7, 11, true));
            drop(data);
            let bytes = fs::read(dir.path().join(IDENTITY)).unwrap();
            assert_eq!(read_identity(dir.path(), &bytes).unwrap().format, 2);
            let again = DataDir::open(dir.path(), Some(7), None).unwrap();
            assert_eq!((again.cluster_id, again.member_id), (7, 11));
        }
    }

    #[test]
    fn a_directory_of_a_later_format_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(IDENTITY), r#"{"format": 3, "shards": []}"#).unwrap();
        let error = DataDir::open(dir.path(), None, None).unwrap_err();
        assert!(
            matches!(&error, OpenError::FormatVersion { found, supported: 2, .. } if found == "3"),
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

    #[test]
    fn other_tables_take_the_place_at_once_and_left_overs_go() {
        let dir = tempfile::tempdir().unwrap();
        drop(DataDir::open(dir.path(), None, None).unwrap());
        for left_over in ["incoming", "tables-1", "tables-2"] {
            fs::create_dir(dir.path().join(left_over)).unwrap();
        }
        // A crash before the switch leaves the first tables.
        let first = DataDir::open(dir.path(), None, None).unwrap();
        assert!(first.tables().ends_with("tables") && !dir.path().join("tables-1").exists());
        drop(first);
        fs::create_dir(dir.path().join("tables-2")).unwrap();
        assert_eq!(switch_tables(dir.path(), "tables-2").unwrap(), "tables");
        // A crash after it leaves the others, and the first are not needed any more.
        let second = DataDir::open(dir.path(), None, None).unwrap();
        assert!(second.tables().ends_with("tables-2") && !dir.path().join("tables").exists());
        assert!(!dir.path().join("incoming").exists());
    }
}
