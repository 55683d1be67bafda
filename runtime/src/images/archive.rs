//! Import of image archives: OCI layouts and Docker's `save` format, as a tar, also compressed. The archive's own
//! names are never used as paths: its members land under numbers.

use super::blob::{Metered, decompressed, digest_of, expect_digest, hex};
use super::image::ImageConfig;
use super::manifest::{Descriptor, INDEX_DEPTH_MAX, Manifest, select};
use super::reference::Reference;
use super::store::{Arrival, ImageRecord, Layer, Store};
use crate::durable;
use crate::failure::{Attempt, Failure, Result};
use serde::Deserialize;
use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

const MEMBERS_MAX: usize = 20_000;
const NAME_KEYS: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

/// Imports every image of the archive. `name` is used instead of the archive's own names, for an archive of one.
pub(crate) fn import(store: &Store, archive: &Path, name: Option<&Reference>) -> Result<Vec<ImageRecord>> {
    let file = File::open(archive).attempt_with(|| format!("opening {}", archive.display()))?;
    let _hold = store.hold()?;
    let members = Members::unpack(file, store)?;
    let images = if members.has("manifest.json") { docker_images(&members)? } else { oci_images(&members)? };
    if images.is_empty() {
        return Err(Failure::invalid("the archive holds no image"));
    }
    if name.is_some() && images.len() > 1 {
        return Err(Failure::invalid("the archive holds several images: they cannot all get one name"));
    }
    let mut records = Vec::new();
    for mut image in images {
        if let Some(name) = name {
            image.references = vec![name.clone()];
        }
        if image.references.is_empty() {
            return Err(Failure::invalid("the archive does not name its image: give a name for it"));
        }
        records.push(bring(store, image)?);
    }
    Ok(records)
}

/// An image found in an archive.
struct Found {
    config: Vec<u8>,
    manifest: Option<Vec<u8>>,
    /// Member and, if known, digest of each layer.
    layers: Vec<(PathBuf, Option<String>)>,
    references: Vec<Reference>,
}

fn bring(store: &Store, image: Found) -> Result<ImageRecord> {
    let ingest = store.begin()?;
    let config = ImageConfig::parse(&image.config, image.layers.len())?;
    let layers: Vec<Layer> = config.rootfs.diff_ids.iter().cloned().map(Layer).collect();
    let mut size_bytes = image.config.len() as u64;
    for ((path, digest), layer) in image.layers.iter().zip(&layers) {
        size_bytes += if ingest.has_layer(layer) {
            std::fs::metadata(path).attempt("looking at a layer")?.len()
        } else {
            ingest.add_layer(path, digest.as_deref(), layer)?
        };
    }
    ingest.commit(Arrival {
        config: image.config,
        manifest: image.manifest,
        references: image.references,
        layers,
        size_bytes,
        user: config.config.user.unwrap_or_default(),
    })
}

/// The files of an archive by name.
struct Members {
    dir: PathBuf,
    files: HashMap<String, PathBuf>,
    bytes_max: u64,
}

impl Members {
    fn unpack(file: File, store: &Store) -> Result<Self> {
        let dir = store.temporary()?;
        let mut members = Self { dir, files: HashMap::new(), bytes_max: store.limits.manifest_bytes_max };
        let plain = decompressed(BufReader::with_capacity(1 << 16, file))?;
        let mut archive = tar::Archive::new(Metered::new(plain, store.limits.layer_bytes_max));
        let mut links = Vec::new();
        for (number, entry) in archive.entries().attempt("reading the archive")?.enumerate() {
            if number >= MEMBERS_MAX {
                return Err(Failure::exhausted(format!("the archive has more than {MEMBERS_MAX} members")));
            }
            let mut entry = entry.attempt("reading the archive").map_err(not_an_archive)?;
            let name = plain_name(&String::from_utf8_lossy(&entry.path_bytes()));
            let kind = entry.header().entry_type();
            if kind.is_file() {
                let path = members.dir.join(number.to_string());
                let mut target = File::create_new(&path).attempt("storing a member of the archive")?;
                std::io::copy(&mut entry, &mut target).attempt("reading a member of the archive")?;
                members.files.insert(name, path);
            } else if (kind.is_symlink() || kind.is_hard_link())
                && let Some(target) = entry.link_name_bytes()
            {
                let target = String::from_utf8_lossy(&target).into_owned();
                let base =
                    if kind.is_symlink() { name.rsplit_once('/').map_or("", |(dir, _)| dir) } else { "" };
                links.push((name.clone(), plain_name(&format!("{base}/{target}"))));
            }
        }
        for (name, target) in links {
            if let Some(path) = members.files.get(&target).cloned() {
                members.files.insert(name, path);
            }
        }
        Ok(members)
    }

    fn has(&self, name: &str) -> bool {
        self.files.contains_key(name)
    }

    fn path(&self, name: &str) -> Result<&PathBuf> {
        self.files
            .get(&plain_name(name))
            .ok_or_else(|| Failure::invalid(format!("the archive has no member {name:?}")))
    }

    fn read(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.path(name)?;
        durable::read(path, self.bytes_max)
            .attempt_with(|| format!("reading {name:?} of the archive"))?
            .ok_or_else(|| Failure::internal("a member of the archive vanished"))
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        let bytes = self.read(&blob_name(&descriptor.digest))?;
        expect_digest("a blob of the archive", &descriptor.digest, &digest_of(&bytes))?;
        Ok(bytes)
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        if let Err(error) = durable::remove_tree(&self.dir) {
            tracing::warn!(dir = %self.dir.display(), %error, "temporary files of an import stay until the next start");
        }
    }
}

fn not_an_archive(failure: Failure) -> Failure {
    failure.with_code(mainstay_proto_wire::cri::Code::InvalidArgument)
}

fn blob_name(digest: &str) -> String {
    format!("blobs/sha256/{}", hex(digest))
}

/// A member's name without `./`, doubled slashes and resolvable `..`.
fn plain_name(name: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

fn docker_images(members: &Members) -> Result<Vec<Found>> {
    let list: Vec<DockerImage> = serde_json::from_slice(&members.read("manifest.json")?)
        .attempt("parsing manifest.json of the archive")
        .map_err(not_an_archive)?;
    let mut images = Vec::new();
    for image in list {
        let references: Result<Vec<_>> =
            image.repo_tags.iter().flatten().map(|tag| Reference::parse(tag)).collect();
        let layers: Result<Vec<_>> =
            image.layers.iter().map(|name| Ok((members.path(name)?.clone(), None))).collect();
        images.push(Found {
            config: members.read(&image.config)?,
            manifest: None,
            layers: layers?,
            references: references?,
        });
    }
    Ok(images)
}

fn oci_images(members: &Members) -> Result<Vec<Found>> {
    if !members.has("index.json") {
        return Err(Failure::invalid(
            "neither an OCI nor a Docker image archive: no index.json, no manifest.json",
        ));
    }
    let Manifest::Index(entries) = Manifest::parse(&members.read("index.json")?, usize::MAX)? else {
        return Err(Failure::invalid("index.json of the archive is no index"));
    };
    let mut images: Vec<Found> = Vec::new();
    let unnamed_platforms = entries.len() > 1 && entries.iter().all(|entry| name_of(entry).is_none());
    let chosen: Vec<&Descriptor> =
        if unnamed_platforms { vec![select(&entries)?] } else { entries.iter().collect() };
    for entry in chosen {
        let mut image = follow(members, entry, INDEX_DEPTH_MAX)?;
        image.references = name_of(entry).into_iter().collect();
        images.push(image);
    }
    Ok(images)
}

/// A usable name: a bare tag, as some tools write, is not one.
fn name_of(entry: &Descriptor) -> Option<Reference> {
    let name = NAME_KEYS.iter().find_map(|key| entry.annotations.get(*key))?;
    if name.contains([':', '/', '@']) { Reference::parse(name).ok() } else { None }
}

fn follow(members: &Members, entry: &Descriptor, depth_left: usize) -> Result<Found> {
    if depth_left == 0 {
        return Err(Failure::invalid("image indexes point to each other too deeply"));
    }
    let bytes = members.blob(entry)?;
    match Manifest::parse(&bytes, 1024)? {
        Manifest::Index(entries) => follow(members, select(&entries)?, depth_left - 1),
        Manifest::Image { config, layers } => {
            let layers: Result<Vec<_>> = layers
                .iter()
                .map(|layer| {
                    Ok((members.path(&blob_name(&layer.digest))?.clone(), Some(layer.digest.clone())))
                })
                .collect();
            Ok(Found {
                config: members.blob(&config)?,
                manifest: Some(bytes),
                layers: layers?,
                references: Vec::new(),
            })
        }
    }
}
