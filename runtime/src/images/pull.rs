//! Pull from a registry. Nothing the registry says is believed: digests are computed here, sizes are bounded.

use super::blob::{digest_of, expect_digest, hex};
use super::image::ImageConfig;
use super::manifest::{ACCEPTED, Descriptor, INDEX_DEPTH_MAX, Manifest, select};
use super::reference::Reference;
use super::store::{Arrival, ImageRecord, Ingest, Layer, Store};
use crate::failure::{Attempt, Failure, Result};
use futures::{StreamExt, TryStreamExt};
use mainstay_proto_wire::cri::Code;
use oci_client::client::{Client, ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::secrets::RegistryAuth;
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
const READ_TIMEOUT: Duration = Duration::from_secs(60);
const MANIFEST_TIMEOUT: Duration = Duration::from_secs(60);
const DOWNLOADS_AT_ONCE: usize = 3;

/// Fetches an image and unpacks what is new of it.
pub(crate) async fn pull(store: &Store, reference: &Reference, auth: &RegistryAuth) -> Result<ImageRecord> {
    let registry = Registry::connect(reference, auth);
    let limits = store.limits;
    let (manifest, config, layers) = registry.resolve(limits.manifest_bytes_max, limits.layers_max).await?;
    let config_bytes = registry.small_blob(&config, limits.manifest_bytes_max).await?;
    let parsed = ImageConfig::parse(&config_bytes, layers.len())?;
    let diff_ids: Vec<Layer> = parsed.rootfs.diff_ids.iter().cloned().map(Layer).collect();
    let begun = store.clone();
    let ingest = Arc::new(blocking(move || begun.begin()).await?);
    let wanted: Vec<(Descriptor, Layer)> = layers.iter().cloned().zip(diff_ids.iter().cloned()).collect();
    futures::stream::iter(wanted)
        .map(|(blob, layer)| fetch_layer(&registry, Arc::clone(&ingest), blob, layer, limits.layer_bytes_max))
        .buffer_unordered(DOWNLOADS_AT_ONCE)
        .try_collect::<()>()
        .await?;
    let ingest =
        Arc::into_inner(ingest).ok_or_else(|| Failure::internal("a layer task outlived the pull"))?;
    let arrival = Arrival {
        size_bytes: config.size + layers.iter().map(|layer| layer.size).sum::<u64>(),
        config: config_bytes,
        manifest: Some(manifest),
        references: vec![reference.clone()],
        layers: diff_ids,
        user: parsed.config.user.unwrap_or_default(),
    };
    blocking(move || ingest.commit(arrival)).await
}

async fn fetch_layer(
    registry: &Registry,
    ingest: Arc<Ingest>,
    blob: Descriptor,
    layer: Layer,
    bytes_max: u64,
) -> Result<()> {
    if ingest.has_layer(&layer) {
        return Ok(());
    }
    if blob.media_type.contains("foreign") || blob.media_type.contains("nondistributable") {
        return Err(Failure::invalid(format!("layer {} is not distributable", blob.digest)));
    }
    let path = ingest.dir().join(format!("{}-{:08x}", hex(&blob.digest), rand::random::<u32>()));
    registry.download(&blob, &path, bytes_max).await?;
    blocking(move || {
        ingest.add_layer(&path, Some(&blob.digest), &layer)?;
        crate::durable::remove_file(&path).attempt("removing a downloaded blob")
    })
    .await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.attempt("waiting for disk work")?
}

struct Registry {
    client: Client,
    auth: RegistryAuth,
    reference: Reference,
    remote: oci_client::Reference,
}

impl Registry {
    fn connect(reference: &Reference, auth: &RegistryAuth) -> Self {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Lost only to another thread that installs one at the same moment, which is as good.
            drop(rustls::crypto::ring::default_provider().install_default());
        }
        let protocol =
            if is_local(&reference.registry) { ClientProtocol::Http } else { ClientProtocol::Https };
        let client = Client::new(ClientConfig {
            protocol,
            connect_timeout: Some(CONNECT_TIMEOUT),
            read_timeout: Some(READ_TIMEOUT),
            user_agent: concat!("mainstay/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        });
        let (registry, repository) = (reference.registry.clone(), reference.repository.clone());
        let remote = match (&reference.digest, &reference.tag) {
            (Some(digest), _) => oci_client::Reference::with_digest(registry, repository, digest.clone()),
            (None, tag) => {
                let tag = tag.clone().unwrap_or_else(|| "latest".to_owned());
                oci_client::Reference::with_tag(registry, repository, tag)
            }
        };
        Self { client, auth: auth.clone(), reference: reference.clone(), remote }
    }

    /// Follows indexes to the manifest for this machine.
    async fn resolve(
        &self,
        bytes_max: u64,
        layers_max: usize,
    ) -> Result<(Vec<u8>, Descriptor, Vec<Descriptor>)> {
        let mut remote = self.remote.clone();
        let mut wanted = self.reference.digest.clone();
        for _ in 0..INDEX_DEPTH_MAX {
            let fetch = self.client.pull_manifest_raw(&remote, &self.auth, ACCEPTED);
            let (bytes, _) = tokio::time::timeout(MANIFEST_TIMEOUT, fetch)
                .await
                .map_err(|_elapsed| self.failure(Code::Unavailable, "the registry does not answer"))?
                .map_err(|error| self.explain(&error))?;
            if bytes.len() as u64 > bytes_max {
                return Err(self.failure(Code::ResourceExhausted, "the manifest is too large"));
            }
            if let Some(wanted) = &wanted {
                expect_digest("the manifest", wanted, &digest_of(&bytes))?;
            }
            match Manifest::parse(&bytes, layers_max)? {
                Manifest::Image { config, layers } => return Ok((bytes.to_vec(), config, layers)),
                Manifest::Index(entries) => {
                    let entry = select(&entries)?;
                    remote = remote.clone_with_digest(entry.digest.clone());
                    wanted = Some(entry.digest.clone());
                }
            }
        }
        Err(self.failure(Code::InvalidArgument, "image indexes point to each other too deeply"))
    }

    async fn small_blob(&self, blob: &Descriptor, bytes_max: u64) -> Result<Vec<u8>> {
        if blob.size > bytes_max {
            return Err(self.failure(Code::ResourceExhausted, "the image configuration is too large"));
        }
        let mut stream = self.stream(blob).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.next().await {
            bytes.extend_from_slice(&chunk.map_err(|error| self.stream_failure(&error))?);
            if bytes.len() as u64 > bytes_max {
                return Err(self.failure(Code::ResourceExhausted, "the image configuration is too large"));
            }
        }
        expect_digest("the image configuration", &blob.digest, &digest_of(&bytes))?;
        Ok(bytes)
    }

    async fn stream(
        &self,
        blob: &Descriptor,
    ) -> Result<futures::stream::BoxStream<'static, std::io::Result<bytes::Bytes>>> {
        let found = self.client.pull_blob_stream(&self.remote, blob.digest.as_str()).await;
        Ok(found.map_err(|error| self.explain(&error))?.stream)
    }

    /// Writes a blob to `path`; it has the right size and digest when this returns.
    async fn download(&self, blob: &Descriptor, path: &PathBuf, bytes_max: u64) -> Result<()> {
        if blob.size > bytes_max {
            return Err(self.failure(Code::ResourceExhausted, "a layer is too large"));
        }
        let mut stream = self.stream(blob).await?;
        let file = tokio::fs::File::create_new(path).await.attempt("storing a layer")?;
        let mut file = tokio::io::BufWriter::with_capacity(1 << 18, file);
        let mut hash = Sha256::new();
        let mut bytes: u64 = 0;
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| self.stream_failure(&error))?;
            bytes += chunk.len() as u64;
            if bytes > blob.size {
                return Err(self.failure(Code::DataLoss, "a layer is larger than its manifest says"));
            }
            hash.update(&chunk);
            file.write_all(&chunk).await.attempt("storing a layer")?;
        }
        file.flush().await.attempt("storing a layer")?;
        if bytes != blob.size {
            return Err(self.failure(Code::DataLoss, "a layer is shorter than its manifest says"));
        }
        let digest =
            hash.finalize().iter().fold(String::from("sha256:"), |text, byte| format!("{text}{byte:02x}"));
        expect_digest("a layer", &blob.digest, &digest)
    }

    fn failure(&self, code: Code, what: &str) -> Failure {
        Failure::new(code, format!("failed to pull image \"{}\": {what}", self.reference))
    }

    /// The client checks digests too, as the stream ends.
    fn stream_failure(&self, error: &std::io::Error) -> Failure {
        let wrong = error
            .get_ref()
            .is_some_and(<dyn std::error::Error + Send + Sync>::is::<oci_client::errors::DigestError>);
        let code = if wrong { Code::DataLoss } else { Code::Unavailable };
        self.failure(code, &format!("downloading a blob: {error}"))
    }

    fn explain(&self, error: &OciDistributionError) -> Failure {
        let code = code_of(error);
        let what = match code {
            Code::NotFound => format!("{}: not found", self.reference),
            Code::Unauthenticated => format!("authorization failed: {error}"),
            _ => {
                let mut text = error.to_string();
                let mut next = std::error::Error::source(error);
                while let Some(cause) = next {
                    text = format!("{text}: {cause}");
                    next = cause.source();
                }
                text
            }
        };
        self.failure(code, &what)
    }
}

fn code_of(error: &OciDistributionError) -> Code {
    use oci_client::errors::OciErrorCode;
    match error {
        OciDistributionError::ImageManifestNotFoundError(_)
        | OciDistributionError::ServerError { code: 404, .. } => Code::NotFound,
        OciDistributionError::ServerError { code: 401 | 403, .. }
        | OciDistributionError::UnauthorizedError { .. }
        | OciDistributionError::AuthenticationFailure(_) => Code::Unauthenticated,
        OciDistributionError::DigestError(_) => Code::DataLoss,
        OciDistributionError::RegistryError { envelope, .. } => {
            let has =
                |wanted: &[OciErrorCode]| envelope.errors.iter().any(|error| wanted.contains(&error.code));
            if has(&[OciErrorCode::ManifestUnknown, OciErrorCode::NameUnknown, OciErrorCode::NotFound]) {
                Code::NotFound
            } else if has(&[OciErrorCode::Unauthorized, OciErrorCode::Denied]) {
                Code::Unauthenticated
            } else {
                Code::Unknown
            }
        }
        OciDistributionError::RequestError(_) | OciDistributionError::ServerError { .. } => Code::Unavailable,
        _ => Code::Unknown,
    }
}

/// Registries on this machine speak plain HTTP; all others TLS.
fn is_local(registry: &str) -> bool {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    host == "localhost" || host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}
