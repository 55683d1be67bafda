//! The data directory: its layout, its lock, and the cluster that it belongs to.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use mainstay_base::pki::Leaf;
use rustix::fs::{FlockOperation, flock};

use crate::config::{Cluster, FORMAT_VERSION};
use crate::refusal::refuse;

const CLUSTER_FILE: &str = "cluster.json";
const LOCK_FILE: &str = "lock";
/// There while a machine joins: what else is there is worth nothing until `cluster.json` is.
const JOINING_FILE: &str = "joining";

/// A data directory that this process alone uses, until it is dropped.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// The cluster that lives in `path`; `None` where nothing or an empty directory is.
    pub(crate) fn cluster(path: &Path) -> anyhow::Result<Option<Cluster>> {
        let file = path.join(CLUSTER_FILE);
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return absent(path),
            Err(error) => return Err(refuse(format!("{} cannot be read: {error}", file.display()))),
        };
        let cluster: Cluster = serde_json::from_str(&text).map_err(|error| {
            refuse(format!(
                "{} is damaged or of another version ({error}): restore it, or choose another --data-dir",
                file.display()
            ))
        })?;
        if cluster.format_version != FORMAT_VERSION {
            return Err(refuse(format!(
                "{} has format {}, this mainstay reads {FORMAT_VERSION}: use the mainstay that made it",
                file.display(),
                cluster.format_version
            )));
        }
        Ok(Some(cluster))
    }

    /// The cluster in `path`, which must be there.
    pub(crate) fn existing(path: &Path) -> anyhow::Result<Cluster> {
        Self::cluster(path)?.ok_or_else(|| {
            refuse(format!(
                "there is no cluster in {}: start one with `mainstay up`, or give its --data-dir",
                path.display()
            ))
        })
    }

    /// Makes the directory where it is missing, takes its lock and remembers `cluster` in it.
    pub(crate) fn take(path: &Path, cluster: &Cluster) -> anyhow::Result<Self> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|error| refuse(format!("data directory {} cannot be made: {error}", path.display())))?;
        let lock = lock(path)?;
        let file = path.join(CLUSTER_FILE);
        if !file.exists() {
            let text = serde_json::to_vec_pretty(cluster).context("writing the cluster's settings")?;
            write_atomically(&file, &text, 0o644)?;
        }
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Locks the directory, made where it is missing, for a machine that joins a cluster; what an interrupted attempt left
    /// is removed.
    pub(crate) fn begin_joining(path: &Path) -> anyhow::Result<Self> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|error| refuse(format!("data directory {} cannot be made: {error}", path.display())))?;
        let lock = lock(path)?;
        absent(path)?;
        for entry in fs::read_dir(path).context("looking for an interrupted attempt")? {
            let entry = entry.context("looking for an interrupted attempt")?;
            if [LOCK_FILE, JOINING_FILE].iter().any(|own| entry.file_name() == *own) {
                continue;
            }
            let file = entry.path();
            let removed = if file.is_dir() { fs::remove_dir_all(&file) } else { fs::remove_file(&file) };
            removed.with_context(|| format!("removing {} of an interrupted attempt", file.display()))?;
        }
        write_atomically(&path.join(JOINING_FILE), b"", 0o644)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// All is there: from now on the directory is that of `cluster`.
    pub(crate) fn finish_joining(self, cluster: &Cluster) -> anyhow::Result<()> {
        let text = serde_json::to_vec_pretty(cluster).context("writing the cluster's settings")?;
        write_atomically(&self.path.join(CLUSTER_FILE), &text, 0o644)?;
        fs::remove_file(self.path.join(JOINING_FILE)).context("ending the attempt to join")
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A file or folder inside.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The process that has `path` in use, if one has.
    pub(crate) fn user(path: &Path) -> anyhow::Result<Option<u32>> {
        let file = match OpenOptions::new().read(true).open(path.join(LOCK_FILE)) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(refuse(format!("data directory {} cannot be used: {error}", path.display())));
            }
        };
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(None),
            Err(_held) => Ok(Some(owner(&file))),
        }
    }
}

/// An empty or missing directory has no cluster; one with foreign files is not ours to use.
fn absent(path: &Path) -> anyhow::Result<Option<Cluster>> {
    if path.join(JOINING_FILE).exists() {
        return Ok(None);
    }
    // A crash may have left a file that was not whole yet.
    let own = [LOCK_FILE, "joining.tmp", "cluster.tmp"];
    let mut entries = fs::read_dir(path).into_iter().flatten().flatten();
    let foreign = entries.find(|entry| own.iter().all(|name| entry.file_name() != *name));
    match foreign {
        None => Ok(None),
        Some(entry) => Err(refuse(format!(
            "{} holds {} but no cluster of mainstay: choose an empty --data-dir",
            path.display(),
            entry.file_name().display()
        ))),
    }
}

fn lock(path: &Path) -> anyhow::Result<File> {
    let name = path.join(LOCK_FILE);
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o644)
        .open(&name)
        .map_err(|error| refuse(format!("{} cannot be opened: {error}", name.display())))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let (dir, pid) = (path.display(), owner(&file));
        return Err(refuse(format!(
            "{dir} is in use by mainstay process {pid}: stop it, or choose another --data-dir"
        )));
    }
    file.set_len(0).context("writing the lock")?;
    file.rewind().context("writing the lock")?;
    write!(file, "{}", std::process::id()).context("writing the lock")?;
    Ok(file)
}

/// The process id in a lock file; 0 while its owner has not written it yet.
fn owner(mut file: &File) -> u32 {
    let mut text = String::new();
    match file.read_to_string(&mut text) {
        Ok(_) => text.trim().parse().unwrap_or(0),
        Err(_) => 0,
    }
}

/// Writes a file so that a crash leaves the old one or the new one, never half of it.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    let doing = || format!("writing {}", path.display());
    let dir = path.parent().with_context(doing)?;
    let temporary = staged(path, "tmp", bytes, mode)?;
    fs::rename(&temporary, path).with_context(doing)?;
    File::open(dir).and_then(|dir| dir.sync_all()).with_context(doing)
}

/// Replaces a certificate and its key. `keep` says whether the old certificate must be there until the new one is; otherwise a crash
/// leaves no certificate rather than one beside a key that is not its own. Who reads them sees a gap of microseconds.
pub(crate) fn write_pair(base: &Path, leaf: &Leaf, keep: bool) -> anyhow::Result<()> {
    let doing = || format!("writing {}", base.display());
    let (certificate, key) = (base.with_extension("crt"), base.with_extension("key"));
    let new_key = staged(&key, "key.tmp", leaf.key_pem.as_bytes(), 0o600)?;
    let new_certificate = staged(&certificate, "crt.tmp", leaf.certificate_pem.as_bytes(), 0o644)?;
    if !keep && certificate.exists() {
        fs::remove_file(&certificate).with_context(doing)?;
    }
    fs::rename(&new_key, &key).with_context(doing)?;
    fs::rename(&new_certificate, &certificate).with_context(doing)?;
    let dir = base.parent().with_context(doing)?;
    File::open(dir).and_then(|dir| dir.sync_all()).with_context(doing)
}

/// A file beside `path`, on disk, that is to take its place.
fn staged(path: &Path, extension: &str, bytes: &[u8], mode: u32) -> anyhow::Result<PathBuf> {
    let doing = || format!("writing {}", path.display());
    let temporary = path.with_extension(extension);
    let mut file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(mode)
        .open(&temporary)
        .with_context(doing)?;
    file.write_all(bytes).with_context(doing)?;
    file.sync_all().with_context(doing)?;
    Ok(temporary)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster() -> Cluster {
        Cluster {
            format_version: FORMAT_VERSION,
            id: "0123abcd".to_owned(),
            node_name: "n".to_owned(),
            cluster_cidr: "10.42.0.0/16".parse().unwrap(),
            service_cidr: "10.43.0.0/16".parse().unwrap(),
            pod_cidr: None,
        }
    }

    #[test]
    fn a_directory_remembers_its_cluster() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(DataDir::cluster(dir.path()).unwrap(), None);
        drop(DataDir::take(dir.path(), &cluster()).unwrap());
        assert_eq!(DataDir::cluster(dir.path()).unwrap(), Some(cluster()));
    }

    #[test]
    fn a_directory_in_use_is_refused_with_its_user() {
        let dir = tempfile::tempdir().unwrap();
        let _first = DataDir::take(dir.path(), &cluster()).unwrap();
        let error = DataDir::take(dir.path(), &cluster()).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        assert_eq!(DataDir::user(dir.path()).unwrap(), Some(std::process::id()));
    }

    #[test]
    fn a_directory_is_a_clusters_only_when_joining_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let begun = DataDir::begin_joining(dir.path()).unwrap();
        fs::write(begun.join("half"), "x").unwrap();
        drop(begun); // interrupted
        assert_eq!(DataDir::cluster(dir.path()).unwrap(), None);
        let again = DataDir::begin_joining(dir.path()).unwrap();
        assert!(!again.join("half").exists());
        again.finish_joining(&cluster()).unwrap();
        assert_eq!(DataDir::cluster(dir.path()).unwrap(), Some(cluster()));
        assert!(!dir.path().join(JOINING_FILE).exists());
        fs::write(dir.path().join("x"), "").unwrap();
        fs::remove_file(dir.path().join(CLUSTER_FILE)).unwrap();
        assert!(DataDir::begin_joining(dir.path()).is_err(), "not ours to empty");
    }

    #[test]
    fn foreign_and_damaged_directories_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("precious"), "x").unwrap();
        assert!(DataDir::cluster(dir.path()).unwrap_err().to_string().contains("choose an empty"));
        fs::write(dir.path().join(CLUSTER_FILE), "{").unwrap();
        assert!(DataDir::cluster(dir.path()).unwrap_err().to_string().contains("damaged"));
    }
}
