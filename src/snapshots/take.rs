//! Writes a snapshot to a file: under its name once it is whole, on disk, and was read again.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use futures::{Stream, StreamExt as _};
use mainstay_base::pki::public_key_sha256;
use mainstay_store::SnapshotStatus;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use tokio_util::bytes::Bytes;

use super::bundle::{Manifest, write_head};
use super::shelf;
use crate::config::Cluster;
use crate::data_dir::DataDir;
use crate::encryption;
use crate::identities::shared_keys;
use crate::membership::MemberFile;

/// What a snapshot that is taken now tells of this server; without keys.
///
/// # Errors
/// A file of the data directory that cannot be read.
pub(crate) fn manifest(data_dir: &Path, cluster: &Cluster, now: OffsetDateTime) -> anyhow::Result<Manifest> {
    let read = |name: &str| {
        let file = data_dir.join(name);
        fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))
    };
    let file = data_dir.join(encryption::FILE);
    let encryption = if file.exists() { Some(hex(&Sha256::digest(read(encryption::FILE)?))) } else { None };
    Ok(Manifest {
        mainstay_version: mainstay_base::version().to_owned(),
        taken_at: now.unix_timestamp(),
        server: cluster.node_name.clone(),
        peer_url: MemberFile::read(data_dir)?.map(|file| file.peer_url),
        cluster_cidr: cluster.cluster_cidr,
        service_cidr: cluster.service_cidr,
        pod_cidr: cluster.pod_cidr,
        authority: authority(&read("pki/ca.crt")?)?,
        encryption,
        keys: None,
    })
}

/// What an authority is known by.
pub(super) fn authority(ca_pem: &str) -> anyhow::Result<String> {
    let der = CertificateDer::from_pem_slice(ca_pem.as_bytes()).context("reading the cluster's authority")?;
    Ok(hex(&public_key_sha256(&der).context("reading the cluster's authority")?))
}

/// The keys of the cluster, by file name.
///
/// # Errors
/// One that cannot be read.
pub(super) fn keys(data_dir: &Path) -> anyhow::Result<std::collections::BTreeMap<String, String>> {
    let own = data_dir.join(encryption::FILE).exists().then_some(encryption::FILE);
    shared_keys(data_dir, own)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    text.extend(bytes.iter().map(|byte| format!("{byte:02x}")));
    text
}

/// Writes a manifest and the pieces of a store's snapshot to `to`, which appears once it is whole. Blocks between pieces.
///
/// # Errors
/// The disk's, or the store's; `to` is as it was then.
pub(super) async fn write<E>(
    to: &Path,
    manifest: &Manifest,
    pieces: impl Stream<Item = Result<Bytes, E>>,
) -> anyhow::Result<SnapshotStatus>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let mut part = to.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let written = write_part(&part, manifest, pieces).await;
    let status = written.and_then(|()| {
        let (_, status) = shelf::look(&part).context("reading the snapshot again")?;
        fs::rename(&part, to).with_context(|| format!("renaming {} to {}", part.display(), to.display()))?;
        let dir = to.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        File::open(dir)
            .and_then(|dir| dir.sync_all())
            .with_context(|| format!("writing {}", dir.display()))?;
        Ok(status)
    });
    if status.is_err() && part.exists() {
        // The next attempt begins anew: half a snapshot is of no use, and may be what fills the disk.
        if let Err(error) = fs::remove_file(&part) {
            tracing::warn!(%error, file = %part.display(), "half a snapshot was left behind");
        }
    }
    status
}

async fn write_part<E>(
    part: &Path,
    manifest: &Manifest,
    pieces: impl Stream<Item = Result<Bytes, E>>,
) -> anyhow::Result<()>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let writing = || format!("writing {}", part.display());
    // Rows may be secret: for the owner only.
    let file = File::options().create(true).write(true).truncate(true).mode(0o600).open(part);
    let mut file = BufWriter::with_capacity(1 << 20, file.with_context(writing)?);
    write_head(&mut file, manifest).with_context(writing)?;
    let mut pieces = std::pin::pin!(pieces);
    while let Some(piece) = pieces.next().await {
        file.write_all(&piece.context("taking the snapshot")?).with_context(writing)?;
    }
    let file = file.into_inner().map_err(std::io::IntoInnerError::into_error).with_context(writing)?;
    file.sync_all().with_context(writing)
}

/// The data directory of a server, with its cluster.
///
/// # Errors
/// There is none.
pub(super) fn server_dir(data_dir: &Path) -> anyhow::Result<(PathBuf, Cluster)> {
    let path = std::path::absolute(data_dir).context("finding the data directory")?;
    let cluster = DataDir::existing(&path)?;
    Ok((path, cluster))
}
