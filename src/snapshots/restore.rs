//! A snapshot becomes a cluster again, on one server: in its own data directory, or in an empty one if the snapshot has the keys.
//!
//! Nothing is replaced before all of the snapshot was read and found good; what is replaced stays beside it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use mainstay_base::lifecycle::{Clock as _, SystemClock};
use mainstay_store::{
    InitialMember, RestoreOptions, Restored, RestoredPlace, Revision, SnapshotStatus, cluster_of,
    restore_file, snapshot_status,
};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

use super::bucket::BucketFlags;
use super::bundle::{Manifest, read_head};
use super::download::Held;
use super::place::Place;
use super::{keys, moments, shelf, take};
use crate::authority::{OPTIONAL, former};
use crate::config::{Cluster, FORMAT_VERSION, new_id};
use crate::data_dir::{DataDir, write_atomically};
use crate::encryption;
use crate::membership::MemberFile;
use crate::recover::{bump, confirm};
use crate::refusal::refuse;
use crate::up::print_line;

const STORE: &str = "store";
/// Where the restored store waits.
const RESTORING: &str = "store.restoring";
/// The store that was there before.
const REPLACED: &str = "store.replaced";

/// What is restored, where, and how.
pub(crate) struct RestoreRequest<'a> {
    pub(crate) from: &'a Place,
    pub(crate) bucket: &'a BucketFlags,
    pub(crate) data_dir: &'a Path,
    pub(crate) revision: Option<i64>,
    /// In place of a revision, a time of day.
    pub(crate) at: Option<OffsetDateTime>,
    pub(crate) passphrase_file: Option<&'a Path>,
    pub(crate) yes: bool,
}

/// Restores a cluster on this server.
///
/// # Errors
/// A refusal that says why, with nothing changed; or the disk's.
pub(crate) fn restore(request: &RestoreRequest<'_>) -> anyhow::Result<()> {
    let shown = request.from.to_string();
    let path = std::path::absolute(request.data_dir).context("finding the data directory")?;
    let held = Held::of(request.from, request.bucket, &path)?;
    let mut file = File::open(held.path()).map_err(|error| refuse(format!("{shown}: {error}")))?;
    let manifest = read_head(&mut file).with_context(|| shown.clone())?;
    let status = snapshot_status(&mut file)
        .map_err(|error| refuse(format!("{shown}: {:#}", anyhow::Error::new(error))))?;
    let keys = match (&manifest.keys, request.passphrase_file) {
        (_, None) => None,
        (None, Some(_)) => return Err(refuse(format!("{shown} has no keys: leave --passphrase-file out"))),
        (Some(sealed), Some(file)) => {
            Some(keys::open(sealed, &keys::passphrase("--passphrase-file", file)?)?)
        }
    };
    let revision = match request.at {
        Some(at) => Some(revision_at(held.path(), &shown, &status, at)?),
        None => request.revision,
    };
    let (from, newest) = (status.cluster_id, status.revision);
    let source = Source { file: held.path(), shown: &shown, manifest, keys, from, newest, revision };
    let restored = match DataDir::cluster(&path)? {
        Some(cluster) => in_place(&source, &path, &cluster, request.yes)?,
        None => in_empty(&source, &path)?,
    };
    let command = if MemberFile::exists(&path) { "server" } else { "up" };
    print_line(&format!(
        "restored {} keys; the store is at revision {}, so that watchers of before read anew",
        restored.keys, restored.revision
    ))?;
    print_line(&format!(
        "next: start it with `mainstay {command} --data-dir {}` and the flags that it had",
        path.display()
    ))?;
    if command == "server" {
        print_line(
            "then: start the other servers: they join it again by themselves; one without its data joins as a new machine, by the first command that this one prints",
        )?;
    }
    Ok(())
}

/// The revision of a moment, which is told.
fn revision_at(path: &Path, shown: &str, status: &SnapshotStatus, at: OffsetDateTime) -> anyhow::Result<i64> {
    let mut file = File::open(path).with_context(|| format!("opening {shown}"))?;
    let manifest = read_head(&mut file)?;
    let oldest = status.oldest.unwrap_or(Revision(0));
    let held = moments::Held { file: &mut file, shown, oldest, taken_at: manifest.taken_at };
    let (revision, noted_at) = held.revision_at(at)?;
    print_line(&format!(
        "the newest moment that is noted by then is {}: revision {revision}",
        shelf::shown(noted_at)
    ))?;
    Ok(revision.0)
}

/// What is restored.
struct Source<'a> {
    file: &'a Path,
    /// What people call it.
    shown: &'a str,
    manifest: Manifest,
    keys: Option<std::collections::BTreeMap<String, String>>,
    /// The store's cluster that the snapshot is of.
    from: Option<u64>,
    /// Its newest revision.
    newest: Revision,
    /// The one that is wanted.
    revision: Option<i64>,
}

impl Source<'_> {
    /// Restores the store to `to`, as that of a server with this name and address.
    fn store(
        &self,
        to: &Path,
        name: &str,
        peer_url: Option<&str>,
        before: Option<u64>,
    ) -> anyhow::Result<Restored> {
        let mut file = File::open(self.file).with_context(|| format!("opening {}", self.shown))?;
        read_head(&mut file)?;
        let place = peer_url.map(|url| RestoredPlace {
            name: name.to_owned(),
            initial: vec![InitialMember { name: name.to_owned(), peer_urls: vec![url.to_owned()] }],
            // Each restore is a cluster of its own.
            token: format!("mainstay-restored-{}-{}", new_id(), new_id()),
        });
        let options = RestoreOptions {
            place,
            revision: self.revision.map(Revision),
            bump_revision: bump(self.revision.unwrap_or(self.newest.0), SystemClock.wall()),
            mark_compacted: true,
            supersedes: self.from.into_iter().chain(before).collect(),
            ..RestoreOptions::default()
        };
        restore_file(&mut file, to, &options)
            .map_err(|error| refuse(format!("{}: {:#}", self.shown, anyhow::Error::new(error))))
    }
}

/// Replaces the store of a server that is there.
fn in_place(source: &Source<'_>, path: &Path, cluster: &Cluster, yes: bool) -> anyhow::Result<Restored> {
    let shown = path.display();
    if crate::agent_files::AgentFile::exists(path) {
        return Err(refuse(format!("{shown} is that of a worker: restore on a server")));
    }
    if let Some(pid) = DataDir::user(path)? {
        return Err(refuse(format!("{shown} is in use by mainstay process {pid}: stop all servers first")));
    }
    let dir = DataDir::take(path, cluster)?; // nobody starts it meanwhile
    check_fits(source, path, cluster)?;
    print_line(&format!(
        "replaces the store in {shown} by the snapshot of {}, taken on server {}",
        shelf::shown(source.manifest.taken_at),
        source.manifest.server
    ))?;
    print_line(&format!(
        "  lost: what was written after it; the present store is kept as {shown}/{REPLACED}"
    ))?;
    if !yes {
        confirm()?;
    }
    let (staged, store) = (dir.join(RESTORING), dir.join(STORE));
    remove(&staged)?;
    let member = MemberFile::read(path)?;
    // One that is damaged is what may have to be replaced.
    let before = cluster_of(&store).unwrap_or_default();
    let peer_url = member.as_ref().map(|member| member.peer_url.as_str());
    let restored = source.store(&staged, &cluster.node_name, peer_url, before)?;
    exchange(&staged, &store, &dir.join(REPLACED))?;
    for (name, text) in source.keys.iter().flatten() {
        write_key(&dir.join(name), text)?;
    }
    if let Some(keys) = &source.keys {
        // What the snapshot's keys lack is of another time.
        for file in OPTIONAL.into_iter().filter(|name| !keys.contains_key(*name)).map(|name| dir.join(name)) {
            if file.exists() {
                fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))?;
            }
        }
    }
    if let Some(member) = member.filter(|member| member.joined || !member.others.is_empty()) {
        MemberFile { joined: false, others: Vec::new(), ..member }.write(&dir)?;
    }
    Ok(restored)
}

/// Whether the snapshot is of this cluster, and its Secrets can be read here.
fn check_fits(source: &Source<'_>, path: &Path, cluster: &Cluster) -> anyhow::Result<()> {
    let (file, shown) = (source.shown, path.display());
    let own = take::manifest(path, cluster, time::OffsetDateTime::UNIX_EPOCH)?;
    let is_ours = own.authority == source.manifest.authority
        || former(&path.join("pki"))?.contains(&source.manifest.authority);
    if !is_ours {
        return Err(refuse(format!(
            "{file} is of another cluster than {shown} (its authority has another key): restore it to an empty --data-dir"
        )));
    }
    if source.manifest.service_cidr != cluster.service_cidr
        || source.manifest.cluster_cidr != cluster.cluster_cidr
    {
        return Err(refuse(format!("{file} is of a cluster with other addresses than {shown}")));
    }
    if source.keys.is_none() && own.encryption != source.manifest.encryption {
        return Err(refuse(format!(
            "the key of encryption at rest in {shown} is not the one of {file}, so its Secrets could not be read: put that \
             {} back, or give --passphrase-file if the snapshot has keys",
            encryption::FILE
        )));
    }
    Ok(())
}

/// Makes an empty directory that of the server that the snapshot was taken of.
fn in_empty(source: &Source<'_>, path: &Path) -> anyhow::Result<Restored> {
    let manifest = &source.manifest;
    let Some(keys) = &source.keys else {
        let what =
            if manifest.keys.is_some() { "give --passphrase-file" } else { "it was taken without keys" };
        return Err(refuse(format!(
            "{} is empty, and a cluster needs its keys: {what}, or restore in the data directory of one of its servers",
            path.display()
        )));
    };
    if manifest.encryption.as_deref()
        != keys.get(encryption::FILE).map(|text| take::hex(&Sha256::digest(text))).as_deref()
    {
        return Err(refuse(format!("{}: its keys are not those of its manifest", source.shown)));
    }
    let cluster = Cluster {
        format_version: FORMAT_VERSION,
        id: new_id(),
        node_name: manifest.server.clone(),
        cluster_cidr: manifest.cluster_cidr,
        service_cidr: manifest.service_cidr,
        pod_cidr: manifest.pod_cidr,
    };
    let dir = DataDir::begin_joining(path)?;
    let restored = source.store(&dir.join(STORE), &cluster.node_name, manifest.peer_url.as_deref(), None)?;
    for (name, text) in keys {
        write_key(&dir.join(name), text)?;
    }
    if let Some(url) = &manifest.peer_url {
        MemberFile { peer_url: url.clone(), joined: false, others: Vec::new() }.write(&dir)?;
    }
    dir.finish_joining(&cluster)?;
    print_line(&format!("{} is now that of server {}", path.display(), manifest.server))?;
    Ok(restored)
}

fn write_key(file: &Path, text: &str) -> anyhow::Result<()> {
    let folder = file.parent().context("a file without a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let is_public = file.extension().is_some_and(|end| end == "crt");
    write_atomically(file, text.as_bytes(), if is_public { 0o644 } else { 0o600 })
}

/// Puts `new` into the place of `current`, all at once, and keeps that as `kept`.
fn exchange(new: &Path, current: &Path, kept: &Path) -> anyhow::Result<()> {
    let doing = || format!("replacing {}", current.display());
    remove(kept)?;
    if current.exists() {
        renameat_with(CWD, new, CWD, current, RenameFlags::EXCHANGE).with_context(doing)?;
        fs::rename(new, kept).with_context(doing)?;
    } else {
        fs::rename(new, current).with_context(doing)?;
    }
    let dir: PathBuf = current.parent().with_context(doing)?.to_owned();
    File::open(dir).and_then(|dir| dir.sync_all()).with_context(doing)
}

fn remove(dir: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", dir.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_takes_the_place_of_another_which_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let place = |name: &str| dir.path().join(name);
        let make = |name: &str| {
            fs::create_dir(place(name)).unwrap();
            fs::write(place(name).join("is"), name).unwrap();
        };
        make("new");
        exchange(&place("new"), &place("current"), &place("kept")).unwrap();
        assert_eq!(fs::read_to_string(place("current/is")).unwrap(), "new");
        make("newer");
        make("kept");
        exchange(&place("newer"), &place("current"), &place("kept")).unwrap();
        assert_eq!(fs::read_to_string(place("current/is")).unwrap(), "newer");
        assert_eq!(fs::read_to_string(place("kept/is")).unwrap(), "new");
        assert!(!place("newer").exists());
    }
}
