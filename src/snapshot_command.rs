//! `mainstay snapshot`: save a running cluster or store, bring one back from a snapshot, say what is there.

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
use time::OffsetDateTime;
use tonic::metadata::MetadataValue;

use crate::cli::DATA_DIR;
use crate::refusal::refuse;
use crate::snapshots::{self, BucketFlags, Place};
use crate::store_command::{StatusFlags, connect, founders};
use crate::up::print_line;

/// The longest silence while a snapshot comes in.
const SILENCE: Duration = Duration::from_secs(60);
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// `mainstay snapshot`.
#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Save a running cluster, or a store, to a file or to an object of an S3-compatible bucket.
    ///
    /// With --data-dir the whole cluster of the server that runs there, with its keys if --passphrase-file is given; with
    /// --kubeconfig the same from anywhere, without keys. With --endpoints a store that `mainstay store` or etcd serves: all of
    /// it, or the keys with one prefix, also in etcd's format.
    Save(Box<SaveFlags>),
    /// Bring back a cluster on one server, or make a new data directory for `mainstay store`, of a snapshot.
    ///
    /// The file says which. A cluster is restored where --data-dir is: in the directory of one of its servers, which must be
    /// stopped, the store is replaced (the one before is kept beside it, and all else stays); an empty directory becomes that of
    /// the server that the snapshot was taken of, if the snapshot has the keys. Then start that server, and the others:
    /// they join it again, and keep what they had. Snapshots that were cut or changed, or are of a newer version, are refused and change nothing.
    Restore(Box<RestoreFlags>),
    /// List the snapshots that a server takes by itself, each checked to its last byte.
    List {
        /// Where they are; of a bucket s3://BUCKET/PREFIX, with the folders of all servers [default: DATA_DIR/snapshots].
        #[arg(long, value_name = "DIR|S3-URL", conflicts_with = "data_dir", value_parser = Place::parse)]
        dir: Option<Place>,
        /// Read only what each says of itself, not all of it: from a bucket that is quicker, and costs less.
        #[arg(long)]
        quick: bool,
        /// The server's data directory.
        #[arg(long, value_name = "DATA_DIR", default_value = DATA_DIR)]
        data_dir: PathBuf,
        #[command(flatten)]
        bucket: BucketFlags,
    },
    /// Check a snapshot's sums and say what it holds.
    Status {
        /// The snapshot; of a cluster also s3://BUCKET/KEY.
        #[arg(value_name = "FILE|S3-URL", value_parser = Place::parse)]
        file: Place,
        #[command(flatten)]
        bucket: BucketFlags,
        /// Write one line of JSON.
        #[arg(long)]
        json: bool,
    },
}

/// What to save, from where.
#[derive(Debug, Args)]
pub(crate) struct SaveFlags {
    /// The file to write; it appears once it is whole. Of a cluster also s3://BUCKET/KEY.
    #[arg(value_name = "FILE|S3-URL", value_parser = Place::parse)]
    file: Place,
    #[command(flatten)]
    bucket: BucketFlags,
    /// Save the cluster of the server that runs in this data directory.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["kubeconfig", "endpoints", "prefix", "etcd_format", "user"])]
    data_dir: Option<PathBuf>,
    /// Save the cluster of this administrator's kubeconfig, without its keys.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["endpoints", "prefix", "etcd_format", "user"])]
    kubeconfig: Option<PathBuf>,
    /// Seal the cluster's keys into the snapshot, under the passphrase in this file (16 characters or more).
    #[arg(long, value_name = "FILE", requires = "data_dir")]
    passphrase_file: Option<PathBuf>,
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
    /// The snapshot; of a cluster also s3://BUCKET/KEY.
    #[arg(value_name = "FILE|S3-URL", value_parser = Place::parse)]
    file: Place,
    #[command(flatten)]
    bucket: BucketFlags,
    /// The server's data directory; for a store a new one, empty or absent.
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Restore what was there at this revision [default: the newest].
    #[arg(long, value_name = "REVISION")]
    revision: Option<i64>,
    /// Restore the cluster as it was at this time of day, such as 2026-11-27T04:30:00Z, within the history that the snapshot holds.
    #[arg(long, value_name = "TIME", value_parser = snapshots::parse_moment, conflicts_with = "revision", help_heading = "Clusters")]
    at: Option<OffsetDateTime>,
    /// The passphrase that the keys in a cluster's snapshot are sealed under.
    #[arg(long, value_name = "FILE", help_heading = "Clusters")]
    passphrase_file: Option<PathBuf>,
    /// Do not ask before the store of a server is replaced.
    #[arg(long, help_heading = "Clusters")]
    yes: bool,
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
        SnapshotCommand::Save(flags) => {
            if let Some(from) = cluster_to_save(flags) {
                return snapshots::save(&flags.file, &flags.bucket, from);
            }
            save(flags)
        }
        SnapshotCommand::List { dir, quick, data_dir, bucket } => {
            let default = || Place::Path(data_dir.join("snapshots"));
            snapshots::print_list(&dir.clone().unwrap_or_else(default), bucket, *quick)
        }
        SnapshotCommand::Restore(flags) => match store_file(&flags.file)? {
            Some(file) => restore_store(flags, file),
            None => snapshots::restore(&snapshots::RestoreRequest {
                from: &flags.file,
                bucket: &flags.bucket,
                data_dir: &flags.data_dir,
                revision: flags.revision,
                at: flags.at,
                passphrase_file: flags.passphrase_file.as_deref(),
                yes: flags.yes,
            }),
        },
        SnapshotCommand::Status { file, bucket, json } => match store_file(file)? {
            Some(file) => status(file, *json),
            None => snapshots::print_status(file, bucket, *json),
        },
    }
}

fn restore_store(flags: &RestoreFlags, file: &Path) -> anyhow::Result<()> {
    if flags.at.is_some() {
        return Err(refuse(
            "--at is for the snapshot of a cluster; a store alone notes no times: give --revision",
        ));
    }
    let options = RestoreOptions {
        revision: flags.revision.map(Revision),
        bump_revision: flags.bump_revision,
        mark_compacted: flags.mark_compacted,
        skip_hash_check: flags.skip_hash_check,
        place: place(flags)?,
        ..RestoreOptions::default()
    };
    restore(file, &flags.data_dir, &options)
}

/// The cluster that the flags name, if they name one.
fn cluster_to_save(flags: &SaveFlags) -> Option<snapshots::SaveFrom<'_>> {
    match (&flags.data_dir, &flags.kubeconfig) {
        (Some(dir), _) => Some(snapshots::SaveFrom::Dir(dir, flags.passphrase_file.as_deref())),
        (None, Some(file)) => Some(snapshots::SaveFrom::Kubeconfig(file.clone())),
        (None, None) => None,
    }
}

/// The file, if it is the snapshot of a store alone. Buckets hold those of clusters.
fn store_file(at: &Place) -> anyhow::Result<Option<&Path>> {
    let Place::Path(file) = at else { return Ok(None) };
    let mut open = File::open(file).map_err(|error| refuse(format!("{}: {error}", file.display())))?;
    let is_clusters =
        snapshots::is_bundle(&mut open).with_context(|| format!("reading {}", file.display()))?;
    Ok((!is_clusters).then_some(file))
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
    let Place::Path(file) = &flags.file else {
        return Err(refuse(
            "the snapshot of a store goes to a file; that of a cluster (--data-dir, --kubeconfig) also to a bucket",
        ));
    };
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
    runtime.block_on(fetch(url, &flags.server, flags.user.as_deref(), request, file))?;
    status(file, false)
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
