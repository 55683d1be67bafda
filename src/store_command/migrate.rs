//! `mainstay store migrate`: an etcd becomes a data directory of this store.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use mainstay_proto_wire::etcd::etcdserverpb as pb;
use mainstay_store::RestoreOptions;

use super::StatusFlags;
use crate::snapshot_command::{fetch, restore};

/// `mainstay store migrate`.
#[derive(Debug, Args)]
pub(crate) struct MigrateFlags {
    /// A snapshot of etcd's (`etcdctl snapshot save`), a copied member/snap/db, or the client URL of a running etcd.
    #[arg(long, value_name = "FILE|URL")]
    from_etcd: String,
    /// The new store's data directory; empty or absent.
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Take a database without checksum, such as a copied member/snap/db.
    #[arg(long)]
    skip_hash_check: bool,
    /// Log in to etcd as this user.
    #[arg(long, value_name = "NAME:PASSWORD")]
    user: Option<String>,
    #[command(flatten)]
    server: StatusFlags,
}

/// Migrates. Members and alarms stay behind; keys with their history, leases, users and roles come along.
///
/// # Errors
/// What could not be read or written, and why; no store is left behind then.
pub(crate) fn run(flags: &MigrateFlags) -> anyhow::Result<()> {
    let options = RestoreOptions { skip_hash_check: flags.skip_hash_check, ..RestoreOptions::default() };
    if !flags.from_etcd.contains("://") {
        return restore(flags.from_etcd.as_ref(), &flags.data_dir, &options);
    }
    // Beside the data directory, which must stay empty, and on the same disk.
    let mut file = flags.data_dir.as_os_str().to_owned();
    file.push(".etcd-snapshot");
    let file = PathBuf::from(file);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting tokio")?;
    let request = tonic::Request::new(pb::SnapshotRequest {});
    runtime.block_on(fetch(&flags.from_etcd, &flags.server, flags.user.as_deref(), request, &file))?;
    let restored = restore(&file, &flags.data_dir, &options);
    std::fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))?;
    restored
}
