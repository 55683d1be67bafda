//! `mainstay snapshot`: save a running store, make a data directory of a snapshot, say what one holds.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use mainstay_proto_wire::etcd::etcdserverpb as pb;
use mainstay_store::{
    RestoreOptions, Restored, RestoredPlace, Revision, SnapshotFormat, restore_file, snapshot_status,
};
use tonic::metadata::MetadataValue;

use crate::store_command::{StatusFlags, connect, founders};
use crate::up::print_line;

/// The longest silence while a snapshot comes in.
const SILENCE: Duration = Duration::from_secs(60);
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// `mainstay snapshot`.
#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Save a running store to a file: all of it, or the keys with one prefix. Also from etcd, in etcd's format.
    Save(SaveFlags),
    /// Make a new data directory of a snapshot, one of this store's or of etcd's.
    Restore(RestoreFlags),
    /// Check a snapshot's sums and say what it holds.
    Status {
        /// The snapshot.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Write one line of JSON.
        #[arg(long)]
        json: bool,
    },
}

/// What to save, from where.
#[derive(Debug, Args)]
pub(crate) struct SaveFlags {
    /// The file to write; it appears once it is whole.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Save only the keys that start with this, with their history and leases.
    #[arg(long, value_name = "PREFIX", conflicts_with = "etcd_format")]
    prefix: Option<String>,
    /// Write etcd's format, for `etcdctl snapshot restore`.
    #[arg(long)]
    etcd_format: bool,
    /// Log in as this user.
    #[arg(long, value_name = "NAME:PASSWORD")]
    user: Option<String>,
    #[command(flatten)]
    server: StatusFlags,
}

/// How to restore.
#[derive(Debug, Args)]
pub(crate) struct RestoreFlags {
    /// The snapshot.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The new store's data directory; empty or absent.
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Restore the store as it was at this revision [default: the newest].
    #[arg(long, value_name = "REVISION")]
    revision: Option<i64>,
    /// Let the revision jump forward by this much, so that watchers see none twice.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    bump_revision: u64,
    /// Make the revision that is reached the oldest that can be read, so that watchers read anew.
    #[arg(long)]
    mark_compacted: bool,
    /// This member's name in the cluster that the snapshot becomes.
    #[arg(long, value_name = "NAME", default_value = "default")]
    name: String,
    /// Every member of that cluster, this one too: NAME=URL, comma-separated. Restore the same file for each of them.
    /// Without it and --initial-advertise-peer-urls the restored store stays alone.
    #[arg(long, value_name = "MEMBERS", value_delimiter = ',')]
    initial_cluster: Vec<String>,
    /// URLs at which the other members will reach this one, comma-separated [default: http://localhost:2380].
    #[arg(long, value_name = "URLS", value_delimiter = ',')]
    initial_advertise_peer_urls: Vec<String>,
    /// Keeps clusters apart that have the same addresses.
    #[arg(long, value_name = "TOKEN", default_value = "etcd-cluster")]
    initial_cluster_token: String,
    /// Take an etcd database without checksum, such as a copied member/snap/db.
    #[arg(long)]
    skip_hash_check: bool,
}

/// Runs the command.
///
/// # Errors
/// What could not be saved, restored or read, and why.
pub(crate) fn run(command: &SnapshotCommand) -> anyhow::Result<()> {
    match command {
        SnapshotCommand::Save(flags) => save(flags),
        SnapshotCommand::Restore(flags) => {
            let options = RestoreOptions {
                revision: flags.revision.map(Revision),
                bump_revision: flags.bump_revision,
                mark_compacted: flags.mark_compacted,
                skip_hash_check: flags.skip_hash_check,
                place: place(flags)?,
                ..RestoreOptions::default()
            };
            restore(&flags.file, &flags.data_dir, &options)
        }
        SnapshotCommand::Status { file, json } => status(file, *json),
    }
}

/// The place in a cluster that the flags give, if any is about one.
fn place(flags: &RestoreFlags) -> anyhow::Result<Option<RestoredPlace>> {
    if flags.initial_cluster.is_empty() && flags.initial_advertise_peer_urls.is_empty() {
        return Ok(None);
    }
    let mut own_urls = flags.initial_advertise_peer_urls.clone();
    if own_urls.is_empty() {
        own_urls.push("http://localhost:2380".to_owned());
    }
    let initial = founders(&flags.name, &flags.initial_cluster, own_urls)?;
    let (name, token) = (flags.name.clone(), flags.initial_cluster_token.clone());
    Ok(Some(RestoredPlace { name, initial, token }))
}

fn save(flags: &SaveFlags) -> anyhow::Result<()> {
    let Some(url) = flags.server.endpoints.first() else { bail!("no endpoint") };
    let mut request = tonic::Request::new(pb::SnapshotRequest {});
    if !flags.etcd_format {
        request.metadata_mut().insert("mainstay-snapshot", MetadataValue::from_static("rows"));
    }
    if let Some(prefix) = &flags.prefix {
        request
            .metadata_mut()
            .insert_bin("mainstay-prefix-bin", MetadataValue::from_bytes(prefix.as_bytes()));
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting tokio")?;
    runtime.block_on(fetch(url, &flags.server, flags.user.as_deref(), request, &flags.file))?;
    status(&flags.file, false)
}

/// Saves what a server sends, under its name once it is whole and its sums are right.
pub(crate) async fn fetch(
    url: &str,
    server: &StatusFlags,
    user: Option<&str>,
    mut request: tonic::Request<pb::SnapshotRequest>,
    to: &Path,
) -> anyhow::Result<()> {
    let channel = connect(url, server).await?;
    if let Some((name, password)) = user.map(|user| user.split_once(':').unwrap_or((user, ""))) {
        let login = pb::AuthenticateRequest { name: name.to_owned(), password: password.to_owned() };
        let mut auth = pb::auth_client::AuthClient::new(channel.clone());
        let token = auth.authenticate(login).await.with_context(|| format!("logging in as {name}"))?;
        request
            .metadata_mut()
            .insert("token", token.into_inner().token.parse().context("reading the token")?);
    }
    let mut client =
        pb::maintenance_client::MaintenanceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let mut part = to.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let writing = || format!("writing {}", part.display());
    let saving = || format!("saving a snapshot of {url}");
    let mut answers = client.snapshot(request).await.with_context(saving)?.into_inner();
    let mut file = File::create(&part).with_context(writing)?;
    while let Some(answer) =
        tokio::time::timeout(SILENCE, answers.message()).await.with_context(saving)?.with_context(saving)?
    {
        file.write_all(&answer.blob).with_context(writing)?;
    }
    file.sync_all().with_context(writing)?;
    snapshot_status(&mut open(&part)?).with_context(saving)?;
    std::fs::rename(&part, to).with_context(|| format!("renaming {} to {}", part.display(), to.display()))
}

fn open(path: &Path) -> anyhow::Result<File> {
    File::open(path).with_context(|| format!("opening snapshot {}", path.display()))
}

/// Restores a file and says what came of it.
pub(crate) fn restore(file: &Path, dir: &Path, options: &RestoreOptions) -> anyhow::Result<()> {
    let restored = restore_file(&mut open(file)?, dir, options)
        .with_context(|| format!("restoring {} to {}", file.display(), dir.display()))?;
    let Restored { revision, keys, cluster_id, member_id, .. } = restored;
    print_line(&format!(
        "restored {keys} keys at revision {revision} to {}: cluster {cluster_id:x}, member {member_id:x}",
        dir.display()
    ))
}

fn status(path: &Path, json: bool) -> anyhow::Result<()> {
    let status = snapshot_status(&mut open(path)?).with_context(|| format!("reading {}", path.display()))?;
    let format = match status.format {
        SnapshotFormat::Mainstay => "mainstay",
        SnapshotFormat::Etcd => "etcd",
    };
    if json {
        // The fields of `etcdctl snapshot status -w json`, and the format.
        let line = serde_json::json!({
            "hash": status.hash, "revision": status.revision.0, "totalKey": status.keys,
            "totalSize": status.size_bytes, "format": format,
        });
        return print_line(&line.to_string());
    }
    print_line(&format!(
        "{}: {format} snapshot, hash {:x}, revision {}, {} rows, {} bytes",
        path.display(),
        status.hash,
        status.revision,
        status.keys,
        status.size_bytes
    ))
}
