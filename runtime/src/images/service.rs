//! The image API: CRI's image service, and import/list/remove for the command line. Works beside a running daemon.

use super::archive;
use super::pull;
use super::reference::Reference;
use super::store::{ImageRecord, Store, add_usage};
use crate::config::Config;
use crate::failure::{Attempt, Failure, Result};
use mainstay_proto_wire::cri::{BoxFuture, Code, CriResult, ImageService, v1};
use oci_client::secrets::RegistryAuth;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use time::OffsetDateTime;

/// The images of one data directory.
#[derive(Clone)]
pub struct Images {
    store: Store,
    containers: PathBuf,
    pulls: Arc<Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>>,
}

impl Images {
    /// Opens the store of a data directory; makes it when it is new. Blocking.
    pub fn open(config: &Config) -> Result<Self> {
        let paths = config.paths();
        let store = Store::open(paths.images(), paths.containers(), config.image_limits)?;
        Ok(Self { store, containers: paths.containers(), pulls: Arc::default() })
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Imports the images of an OCI or Docker archive. `name` replaces the name that the archive gives. Blocking.
    pub fn import(&self, archive: &Path, name: Option<&str>) -> Result<Vec<ImageRecord>> {
        let name = name.map(Reference::parse).transpose()?;
        archive::import(&self.store, archive, name.as_ref())
            .map_err(|failure| failure.during(format!("importing {}", archive.display())))
    }

    /// All images. Blocking.
    pub fn list(&self) -> Result<Vec<ImageRecord>> {
        self.store.list()
    }

    /// An image by any of its names. Blocking.
    pub fn find(&self, name: &str) -> Result<Option<ImageRecord>> {
        self.store.find(name)
    }

    /// Removes an image by any of its names; false when there is none. Blocking.
    pub fn remove(&self, name: &str) -> Result<bool> {
        self.store.remove(name)
    }

    /// Fetches an image without credentials.
    pub async fn pull(&self, reference: &str) -> Result<ImageRecord> {
        self.pull_with(reference, None).await
    }

    async fn pull_with(&self, reference: &str, auth: Option<v1::AuthConfig>) -> Result<ImageRecord> {
        let reference = Reference::parse(reference)?;
        let auth = registry_auth(auth)?;
        let key = reference.to_string();
        let turn = Arc::clone(self.pulls.lock().entry(key.clone()).or_default());
        let result = {
            // Many pods with one new image: the first fetches, the others find the layers there.
            let _turn = turn.lock().await;
            pull::pull(&self.store, &reference, &auth).await
        };
        let mut pulls = self.pulls.lock();
        drop(turn);
        if pulls.get(&key).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            pulls.remove(&key);
        }
        result
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let images = self.clone();
        tokio::task::spawn_blocking(move || work(images)).await.attempt("waiting for the image store")?
    }

    fn fs_info(&self, now: OffsetDateTime) -> v1::ImageFsInfoResponse {
        let usage = |path: PathBuf, (bytes, inodes): (u64, u64)| v1::FilesystemUsage {
            timestamp: nanoseconds(now),
            fs_id: Some(v1::FilesystemIdentifier { mountpoint: path.display().to_string() }),
            used_bytes: Some(v1::UInt64Value { value: bytes }),
            inodes_used: Some(v1::UInt64Value { value: inodes }),
        };
        let mut containers = (0, 0);
        for entry in std::fs::read_dir(&self.containers).into_iter().flatten().flatten() {
            add_usage(&entry.path().join("upper"), &mut containers);
        }
        let images = self.store.usage();
        let dir = self.containers.with_file_name("images");
        v1::ImageFsInfoResponse {
            image_filesystems: vec![usage(dir, images)],
            container_filesystems: vec![usage(self.containers.clone(), containers)],
        }
    }
}

/// Nanoseconds since 1970, CRI's time.
pub(crate) fn nanoseconds(time: OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos()).unwrap_or(i64::MAX)
}

fn registry_auth(auth: Option<v1::AuthConfig>) -> Result<RegistryAuth> {
    let Some(auth) = auth else { return Ok(RegistryAuth::Anonymous) };
    if !auth.registry_token.is_empty() {
        return Ok(RegistryAuth::Bearer(auth.registry_token));
    }
    if !auth.identity_token.is_empty() {
        return Err(Failure::new(Code::Unimplemented, "registry identity tokens are not supported"));
    }
    if !auth.username.is_empty() {
        return Ok(RegistryAuth::Basic(auth.username, auth.password));
    }
    if auth.auth.is_empty() {
        return Ok(RegistryAuth::Anonymous);
    }
    let wrong = || Failure::invalid("the registry credentials are not base64 of \"user:password\"");
    let decoded = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, auth.auth.trim())
        .map_err(|_hidden| wrong())?;
    let text = String::from_utf8(decoded).map_err(|_hidden| wrong())?;
    let (user, password) = text.split_once(':').ok_or_else(wrong)?;
    Ok(RegistryAuth::Basic(user.to_owned(), password.trim_end_matches('\0').to_owned()))
}

/// An image in CRI's words.
pub(crate) fn describe(image: &ImageRecord) -> v1::Image {
    let user = image.user.split(':').next().unwrap_or_default();
    let uid = user.parse::<i64>().ok();
    v1::Image {
        id: image.id.clone(),
        repo_tags: image.tags.iter().cloned().collect(),
        repo_digests: image.digests.iter().cloned().collect(),
        size: image.size_bytes.max(1),
        uid: uid.map(|value| v1::Int64Value { value }),
        username: if uid.is_some() { String::new() } else { user.to_owned() },
        spec: Some(v1::ImageSpec { image: image.id.clone(), ..v1::ImageSpec::default() }),
        pinned: false,
    }
}

fn name_of(spec: Option<v1::ImageSpec>) -> Result<String> {
    spec.map(|spec| spec.image)
        .filter(|name| !name.is_empty())
        .ok_or_else(|| Failure::invalid("the request names no image"))
}

impl ImageService for Images {
    fn list_images(
        &self,
        request: v1::ListImagesRequest,
    ) -> BoxFuture<'_, CriResult<v1::ListImagesResponse>> {
        let wanted = request
            .filter
            .and_then(|filter| filter.image)
            .map(|spec| spec.image)
            .filter(|name| !name.is_empty());
        Box::pin(async move {
            let images = self
                .blocking(move |images| match wanted {
                    Some(name) => Ok(images.find(&name)?.into_iter().collect()),
                    None => images.list(),
                })
                .await?;
            Ok(v1::ListImagesResponse { images: images.iter().map(describe).collect() })
        })
    }

    fn image_status(
        &self,
        request: v1::ImageStatusRequest,
    ) -> BoxFuture<'_, CriResult<v1::ImageStatusResponse>> {
        Box::pin(async move {
            let name = name_of(request.image)?;
            let image = self.blocking(move |images| images.find(&name)).await?;
            Ok(v1::ImageStatusResponse { image: image.as_ref().map(describe), ..Default::default() })
        })
    }

    fn pull_image(&self, request: v1::PullImageRequest) -> BoxFuture<'_, CriResult<v1::PullImageResponse>> {
        Box::pin(async move {
            let name = name_of(request.image)?;
            let image = self.pull_with(&name, request.auth).await?;
            Ok(v1::PullImageResponse { image_ref: image.id })
        })
    }

    fn remove_image(
        &self,
        request: v1::RemoveImageRequest,
    ) -> BoxFuture<'_, CriResult<v1::RemoveImageResponse>> {
        Box::pin(async move {
            let name = name_of(request.image)?;
            self.blocking(move |images| images.remove(&name)).await?;
            Ok(v1::RemoveImageResponse {})
        })
    }

    fn image_fs_info(
        &self,
        _request: v1::ImageFsInfoRequest,
    ) -> BoxFuture<'_, CriResult<v1::ImageFsInfoResponse>> {
        Box::pin(async move {
            let now = OffsetDateTime::now_utc();
            Ok(self.blocking(move |images| Ok(images.fs_info(now))).await?)
        })
    }
}
