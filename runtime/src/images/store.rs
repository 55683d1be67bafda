//! The image store on disk: an index of images, their manifests and configurations by digest, and each layer once,
//! unpacked. Layers are named by the digest of their uncompressed tar, which is verified while unpacking; the
//! compressed form is not kept. Several processes may use the store: `index.lock` guards the index, and
//! `ingest.lock` is held shared by everybody who brings or takes layers, alone by who removes unused ones.
//!
//! ```text
//! index.json  index.lock  ingest.lock  blobs/sha256/<hex>  layers/<hex>/  tmp/
//! ```

use super::blob::{Metered, decompressed, digest_of, expect_digest, hex};
use super::image::ImageConfig;
use super::layer;
use super::reference::{Reference, is_digest, is_hex64};
use crate::config::ImageLimits;
use crate::durable::{self, Lock, Mode, Sync};
use crate::failure::{Attempt, Failure, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::BufReader;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const INDEX_BYTES_MAX: u64 = 64 << 20;
const INDEX_VERSION: u32 = 1;

/// One image as the store knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Digest of the configuration: the image's identity on this node.
    pub id: String,
    /// Full references with a tag.
    pub tags: BTreeSet<String>,
    /// Full references with the manifest's digest.
    pub digests: BTreeSet<String>,
    /// Bytes in the registry or archive: compressed layers and configuration.
    pub size_bytes: u64,
    /// The layers, lowest first.
    pub layers: Vec<Layer>,
    /// The user that the image wants to run as; empty when it does not say.
    pub user: String,
}

/// One layer of an image.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Layer(
    /// Digest of the uncompressed tar.
    pub String,
);

#[derive(Serialize, Deserialize)]
struct Index {
    version: u32,
    images: BTreeMap<String, ImageRecord>,
}

/// The store below one directory.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    root: PathBuf,
    containers: PathBuf,
    pub(crate) limits: ImageLimits,
}

impl Store {
    /// Opens or makes the store, and clears what a killed process left half-done. `containers` is where the records
    /// of containers lie: their layers are in use.
    pub(crate) fn open(root: PathBuf, containers: PathBuf, limits: ImageLimits) -> Result<Self> {
        for part in ["blobs/sha256", "layers", "tmp"] {
            std::fs::create_dir_all(root.join(part))
                .attempt_with(|| format!("making {}", root.join(part).display()))?;
        }
        let store = Self { root, containers, limits };
        if let Some(_alone) = store.try_alone()? {
            store.clear_temporary()?;
        }
        Ok(store)
    }

    fn try_alone(&self) -> Result<Option<Lock>> {
        Lock::try_exclusive(&self.root.join("ingest.lock")).attempt("locking the image store")
    }

    fn clear_temporary(&self) -> Result<()> {
        let tmp = self.root.join("tmp");
        for entry in std::fs::read_dir(&tmp).attempt("listing temporary files")? {
            let path = entry.attempt("listing temporary files")?.path();
            let gone = if path.is_dir() { durable::remove_tree(&path) } else { durable::remove_file(&path) };
            gone.attempt_with(|| format!("removing {}", path.display()))?;
        }
        Ok(())
    }

    fn read_index(&self) -> Result<Index> {
        let path = self.root.join("index.json");
        let Some(bytes) = durable::read(&path, INDEX_BYTES_MAX).attempt("reading the image index")? else {
            return Ok(Index { version: INDEX_VERSION, images: BTreeMap::new() });
        };
        let index: Index = serde_json::from_slice(&bytes).attempt("parsing the image index")?;
        if index.version != INDEX_VERSION {
            return Err(Failure::internal(format!(
                "the image index has version {}, wanted 1",
                index.version
            )));
        }
        Ok(index)
    }

    fn change_index<T>(&self, change: impl FnOnce(&mut Index) -> T) -> Result<T> {
        let _lock =
            Lock::wait(&self.root.join("index.lock"), Mode::Exclusive).attempt("locking the image index")?;
        let mut index = self.read_index()?;
        let result = change(&mut index);
        let bytes = serde_json::to_vec(&index).attempt("writing the image index")?;
        durable::replace(&self.root.join("index.json"), &bytes, Sync::Yes)
            .attempt("writing the image index")?;
        Ok(result)
    }

    /// All images.
    pub(crate) fn list(&self) -> Result<Vec<ImageRecord>> {
        Ok(self.read_index()?.images.into_values().collect())
    }

    /// An image by id (with or without `sha256:`), digest reference or tag reference in any form.
    pub(crate) fn find(&self, name: &str) -> Result<Option<ImageRecord>> {
        find_in(&self.read_index()?.images, name)
    }

    /// The configuration of an image.
    pub(crate) fn config(&self, image: &ImageRecord) -> Result<ImageConfig> {
        let path = self.blob_path(&image.id);
        let bytes = durable::read(&path, self.limits.manifest_bytes_max)
            .attempt("reading the image configuration")?
            .ok_or_else(|| {
                Failure::internal(format!("the configuration of image {} is missing", image.id))
            })?;
        expect_digest("the image configuration", &image.id, &digest_of(&bytes))?;
        ImageConfig::parse(&bytes, image.layers.len())
    }

    /// Where an unpacked layer lies.
    pub(crate) fn layer_path(&self, layer: &Layer) -> PathBuf {
        self.root.join("layers").join(hex(&layer.0))
    }

    fn blob_path(&self, digest: &str) -> PathBuf {
        self.root.join("blobs/sha256").join(hex(digest))
    }

    /// Holds layers in place while somebody looks them up and notes that it uses them.
    pub(crate) fn hold(&self) -> Result<Lock> {
        Lock::wait(&self.root.join("ingest.lock"), Mode::Shared).attempt("locking the image store")
    }

    /// Starts bringing an image in.
    pub(crate) fn begin(&self) -> Result<Ingest> {
        let hold = self.hold()?;
        Ok(Ingest { store: self.clone(), dir: self.temporary()?, _hold: hold })
    }

    /// A new directory for somebody who holds the store.
    pub(crate) fn temporary(&self) -> Result<PathBuf> {
        let dir =
            self.root.join("tmp").join(format!("{}-{:016x}", std::process::id(), rand::random::<u64>()));
        std::fs::create_dir(&dir).attempt("making a temporary directory")?;
        Ok(dir)
    }

    /// Forgets an image by any of its names; false when there is none. Unused layers go when nobody else works here.
    pub(crate) fn remove(&self, name: &str) -> Result<bool> {
        let removed = self.change_index(|index| {
            let found = find_in(&index.images, name)?;
            Ok(found.map(|image| index.images.remove(&image.id)).is_some())
        })??;
        if removed {
            self.collect()?;
        }
        Ok(removed)
    }

    /// Removes layers and blobs that no image and no container uses. Does nothing while somebody brings images in.
    pub(crate) fn collect(&self) -> Result<()> {
        let Some(_alone) = self.try_alone()? else { return Ok(()) };
        let index = self.read_index()?;
        let mut layers: BTreeSet<String> = self.layers_of_containers()?;
        let mut blobs = BTreeSet::new();
        for image in index.images.values() {
            layers.extend(image.layers.iter().map(|layer| hex(&layer.0).to_owned()));
            blobs.insert(hex(&image.id).to_owned());
            let digests = image.digests.iter().filter_map(|name| name.rsplit_once("@sha256:"));
            blobs.extend(digests.map(|(_, hex)| hex.to_owned()));
        }
        for path in unlisted(&self.root.join("layers"), &layers)? {
            // First out of sight, so that a killed removal leaves no half layer behind.
            let doomed = self.root.join("tmp").join(format!("gone-{:016x}", rand::random::<u64>()));
            std::fs::rename(&path, &doomed).attempt("removing an unused layer")?;
        }
        for path in unlisted(&self.root.join("blobs/sha256"), &blobs)? {
            durable::remove_file(&path).attempt("removing an unused blob")?;
        }
        self.clear_temporary()
    }

    fn layers_of_containers(&self) -> Result<BTreeSet<String>> {
        #[derive(Deserialize)]
        struct Uses {
            layers: Vec<Layer>,
        }
        let mut layers = BTreeSet::new();
        let entries = match std::fs::read_dir(&self.containers) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(layers),
            Err(error) => return Err(error).attempt("listing containers"),
        };
        for entry in entries {
            let path = entry.attempt("listing containers")?.path().join("record.json");
            let Some(bytes) = durable::read(&path, 1 << 20).attempt("reading a container's record")? else {
                continue;
            };
            let uses: Uses = serde_json::from_slice(&bytes)
                .attempt_with(|| format!("reading the layers of {}", path.display()))?;
            layers.extend(uses.layers.iter().map(|layer| hex(&layer.0).to_owned()));
        }
        Ok(layers)
    }

    /// Bytes and files that layers and blobs take.
    pub(crate) fn usage(&self) -> (u64, u64) {
        let mut usage = (0, 0);
        add_usage(&self.root, &mut usage);
        usage
    }
}

/// Adds the space of a tree, not following links; what vanishes meanwhile is not counted.
pub(crate) fn add_usage(path: &Path, usage: &mut (u64, u64)) {
    use std::os::unix::fs::MetadataExt;
    let Ok(found) = path.symlink_metadata() else { return };
    usage.0 += found.blocks() * 512;
    usage.1 += 1;
    if found.is_dir()
        && let Ok(entries) = std::fs::read_dir(path)
    {
        for entry in entries.flatten() {
            add_usage(&entry.path(), usage);
        }
    }
}

fn unlisted(dir: &Path, listed: &BTreeSet<String>) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).attempt("listing the image store")? {
        let entry = entry.attempt("listing the image store")?;
        if !listed.contains(entry.file_name().to_string_lossy().as_ref()) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn find_in(images: &BTreeMap<String, ImageRecord>, name: &str) -> Result<Option<ImageRecord>> {
    let by_id = if is_hex64(name) { images.get(&format!("sha256:{name}")) } else { images.get(name) };
    if let Some(found) = by_id {
        return Ok(Some(found.clone()));
    }
    if is_digest(name) || is_hex64(name) {
        return Ok(None);
    }
    let reference = Reference::parse(name)?;
    let wanted = match (&reference.digest, reference.tagged()) {
        (Some(digest), _) => reference.with_digest(digest),
        (None, Some(tagged)) => tagged,
        (None, None) => return Ok(None),
    };
    let named = |image: &&ImageRecord| image.tags.contains(&wanted) || image.digests.contains(&wanted);
    Ok(images.values().find(named).cloned())
}

/// What a finished ingest knows of its image.
pub(crate) struct Arrival {
    /// The configuration's bytes, verified by the caller.
    pub(crate) config: Vec<u8>,
    /// The manifest's bytes, when the image came with one.
    pub(crate) manifest: Option<Vec<u8>>,
    /// Names for it.
    pub(crate) references: Vec<Reference>,
    /// Layers in order.
    pub(crate) layers: Vec<Layer>,
    /// Bytes as transported.
    pub(crate) size_bytes: u64,
    /// From the configuration.
    pub(crate) user: String,
}

/// An image on its way in. Dropping it removes its temporary files; unpacked layers stay for the next attempt until
/// the next collection.
pub(crate) struct Ingest {
    store: Store,
    dir: PathBuf,
    _hold: Lock,
}

impl Ingest {
    /// A place for temporary files.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether the layer needs no unpacking.
    pub(crate) fn has_layer(&self, layer: &Layer) -> bool {
        self.store.layer_path(layer).is_dir()
    }

    /// Unpacks a layer from the file `source`, whose digest must be `compressed` when given, and whose uncompressed
    /// digest must be the layer's. Returns the bytes of the file.
    pub(crate) fn add_layer(&self, source: &Path, compressed: Option<&str>, layer: &Layer) -> Result<u64> {
        let limits = self.store.limits;
        let file = File::open(source).attempt("opening the layer's blob")?;
        let mut transported = Metered::new(file, limits.layer_bytes_max);
        let target = self.dir.join(format!("unpack-{:016x}", rand::random::<u64>()));
        std::fs::create_dir(&target).attempt("making the layer directory")?;
        {
            let plain = decompressed(BufReader::with_capacity(1 << 16, &mut transported))?;
            let mut plain = Metered::new(plain, limits.layer_bytes_max);
            layer::unpack(&mut plain, &target, limits.layer_entries_max)
                .map_err(|failure| limit_failure(failure, &layer.0))?;
            let (digest, _) = plain.finish().attempt("reading the layer to its end")?;
            expect_digest("the uncompressed layer", &layer.0, &digest)?;
        }
        let (digest, bytes) = transported.finish().attempt("reading the layer's blob")?;
        if let Some(wanted) = compressed {
            expect_digest("the layer", wanted, &digest)?;
        }
        let mode = std::fs::metadata(&target).attempt("looking at the layer")?.permissions().mode();
        if mode & 0o7777 == 0o700 {
            std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o755))
                .attempt("opening the layer")?;
        }
        match std::fs::rename(&target, self.store.layer_path(layer)) {
            Ok(()) => Ok(bytes),
            // Somebody else unpacked the same layer meanwhile.
            Err(_) if self.has_layer(layer) => {
                durable::remove_tree(&target).attempt("removing the second copy of the layer")?;
                Ok(bytes)
            }
            Err(error) => Err(error).attempt("storing the layer"),
        }
    }

    /// Makes the image visible. Everything it needs is on disk before its name is.
    pub(crate) fn commit(self, arrival: Arrival) -> Result<ImageRecord> {
        let id = digest_of(&arrival.config);
        self.write_blob(&id, &arrival.config)?;
        let manifest_digest = arrival.manifest.as_deref().map(digest_of);
        if let (Some(digest), Some(manifest)) = (&manifest_digest, &arrival.manifest) {
            self.write_blob(digest, manifest)?;
        }
        let root = File::open(&self.store.root).attempt("opening the image store")?;
        rustix::fs::syncfs(&root).attempt("flushing the image to disk")?;
        let tags: BTreeSet<String> = arrival.references.iter().filter_map(Reference::tagged).collect();
        let mut digests = BTreeSet::new();
        for reference in &arrival.references {
            digests.extend(manifest_digest.as_deref().map(|digest| reference.with_digest(digest)));
            // A name by the digest of an index stays valid for the image chosen from it.
            digests.extend(reference.digest.as_deref().map(|digest| reference.with_digest(digest)));
        }
        self.store.change_index(|index| {
            for image in index.images.values_mut() {
                image.tags.retain(|tag| !tags.contains(tag));
            }
            let record = index.images.entry(id.clone()).or_insert_with(|| ImageRecord {
                id,
                tags: BTreeSet::new(),
                digests: BTreeSet::new(),
                size_bytes: arrival.size_bytes,
                layers: arrival.layers,
                user: arrival.user,
            });
            record.tags.extend(tags);
            record.digests.extend(digests);
            record.clone()
        })
    }

    fn write_blob(&self, digest: &str, bytes: &[u8]) -> Result<()> {
        durable::replace(&self.store.blob_path(digest), bytes, Sync::No).attempt("storing a blob")
    }
}

fn limit_failure(failure: Failure, layer: &str) -> Failure {
    failure.during(format!("unpacking layer {layer}"))
}

impl Drop for Ingest {
    fn drop(&mut self) {
        if let Err(error) = durable::remove_tree(&self.dir) {
            tracing::warn!(dir = %self.dir.display(), %error, "temporary image files stay until the next start");
        }
    }
}
