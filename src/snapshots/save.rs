//! `mainstay snapshot save` of a whole cluster: through the API server of a data directory, or of a kubeconfig.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::{Stream, StreamExt as _};
use http_body_util::{BodyExt as _, BodyStream};
use kube::client::Body;
use mainstay_base::lifecycle::{Clock as _, SystemClock};
use tokio_util::bytes::Bytes;

use super::bucket::BucketFlags;
use super::bundle::Manifest;
use super::endpoint::{MANIFEST, SNAPSHOT};
use super::list::print_status;
use super::place::Place;
use super::shelf::Shelf;
use super::{keys, take};
use crate::refusal::refuse;
use crate::token::ClusterFlags;
use crate::up::{install_crypto, print_line, runtime};

/// The longest silence while a snapshot comes in.
const SILENCE: Duration = Duration::from_secs(60);
const ERROR_BYTES_MAX: usize = 64 << 10;

/// Which cluster is saved.
pub(crate) enum SaveFrom<'a> {
    /// That of the server in this data directory, with its keys if there is a file with a passphrase.
    Dir(&'a Path, Option<&'a Path>),
    /// That of this kubeconfig, without keys.
    Kubeconfig(PathBuf),
}

/// Saves a snapshot to a file or an object, which appears once it is whole.
///
/// # Errors
/// A server that does not run or refuses, a disk that is full, a bucket that cannot be used; `to` is as it was then.
pub(crate) fn save(to: &Place, bucket: &BucketFlags, from: SaveFrom<'_>) -> anyhow::Result<()> {
    install_crypto()?;
    let (folder, name) = to.split()?;
    let shelf = Shelf::open(&folder, bucket)?;
    let (kubeconfig, sealed) = match from {
        SaveFrom::Dir(dir, passphrase_file) => {
            let (dir, _cluster) = running(dir)?;
            let sealed = match passphrase_file {
                Some(file) => {
                    Some(keys::seal(&take::keys(&dir)?, &keys::passphrase("--passphrase-file", file)?)?)
                }
                None => None,
            };
            (dir.join("admin.kubeconfig"), sealed)
        }
        SaveFrom::Kubeconfig(file) => (file, None),
    };
    runtime()?.block_on(async {
        let (client, _ca) = ClusterFlags { kubeconfig: Some(kubeconfig) }.connect().await?;
        let (mut manifest, pieces) = fetch(&client).await?;
        manifest.keys = sealed;
        if let Err(error) = shelf.give_up_unfinished(Some(&name), SystemClock.wall()).await {
            print_line(&format!("parts of unfinished uploads may be left in the bucket: {error:#}"))?; // the snapshot matters more
        }
        shelf.keep(&name, &manifest, pieces).await.map(drop)
    })?;
    print_status(to, bucket, false)
}

/// The data directory of a server that runs.
fn running(dir: &Path) -> anyhow::Result<(PathBuf, crate::config::Cluster)> {
    let found = take::server_dir(dir)?;
    match crate::data_dir::DataDir::user(&found.0)? {
        Some(_pid) => Ok(found),
        None => Err(refuse(format!(
            "no server runs in {}: start it, or save another server's cluster with --kubeconfig",
            found.0.display()
        ))),
    }
}

/// The manifest that a server tells, and the rows.
async fn fetch(
    client: &kube::Client,
) -> anyhow::Result<(Manifest, impl Stream<Item = std::io::Result<Bytes>> + use<>)> {
    let saving = "saving a snapshot of the cluster";
    let request = http::Request::get(SNAPSHOT).body(Body::empty()).context(saving)?;
    let response = client.send(request).await.context(saving)?;
    if !response.status().is_success() {
        let code = response.status();
        let text = http_body_util::Limited::new(response.into_body(), ERROR_BYTES_MAX).collect().await;
        let text =
            text.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned()).unwrap_or_default();
        let told = serde_json::from_str::<serde_json::Value>(&text).ok();
        let why = told
            .as_ref()
            .and_then(|status| status.get("message")?.as_str())
            .unwrap_or_else(|| text.trim())
            .to_owned();
        return Err(refuse(format!("{saving}: the server answers {code}: {why}")));
    }
    let manifest = response.headers().get(MANIFEST).and_then(|text| STANDARD.decode(text).ok());
    let manifest = manifest.context("the server tells nothing about its snapshot: use the same mainstay")?;
    let manifest = serde_json::from_slice(&manifest).context("reading what the server tells")?;
    let frames = pieces_of(BodyStream::new(response.into_body()));
    Ok((manifest, frames))
}

/// The pieces of a body, as long as they come.
fn pieces_of(body: BodyStream<Body>) -> impl Stream<Item = std::io::Result<Bytes>> + use<> {
    futures::stream::unfold(body, |mut body| async move {
        let next = tokio::time::timeout(SILENCE, body.next()).await;
        let piece = match next {
            Ok(None) => return None,
            Ok(Some(Ok(frame))) => Ok(frame.into_data().unwrap_or_default()),
            Ok(Some(Err(error))) => Err(std::io::Error::other(error)),
            Err(_elapsed) => Err(std::io::Error::new(std::io::ErrorKind::TimedOut, "nothing came for 60 s")),
        };
        Some((piece, body))
    })
}
