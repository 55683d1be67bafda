//! Image manifests and indexes, OCI and Docker schema 2: only what we need, checked.

use super::reference::is_digest;
use crate::failure::{Attempt, Failure, Result};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Media types we ask a registry for.
pub(crate) const ACCEPTED: &[&str] = &[
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

/// How many indexes may point to each other.
pub(crate) const INDEX_DEPTH_MAX: usize = 3;
const INDEX_ENTRIES_MAX: usize = 256;

/// A pointer to content.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Descriptor {
    pub(crate) digest: String,
    pub(crate) size: u64,
    #[serde(default, rename = "mediaType")]
    pub(crate) media_type: String,
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
    platform: Option<Platform>,
}

#[derive(Debug, Clone, Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(rename = "schemaVersion")]
    schema_version: u32,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
}

/// A parsed manifest or index.
#[derive(Debug)]
pub(crate) enum Manifest {
    /// One image.
    Image { config: Descriptor, layers: Vec<Descriptor> },
    /// Images for several platforms, or further indexes.
    Index(Vec<Descriptor>),
}

impl Manifest {
    /// Parses and checks a manifest of either kind.
    pub(crate) fn parse(bytes: &[u8], layers_max: usize) -> Result<Self> {
        let raw: Raw = serde_json::from_slice(bytes)
            .attempt("parsing the image manifest")
            .map_err(|failure| failure.with_code(mainstay_proto_wire::cri::Code::InvalidArgument))?;
        if raw.schema_version != 2 {
            return Err(Failure::invalid(format!(
                "image manifest has schema version {}, wanted 2",
                raw.schema_version
            )));
        }
        match (raw.config, raw.layers, raw.manifests) {
            (Some(config), Some(layers), None) => {
                if layers.len() > layers_max {
                    return Err(Failure::exhausted(format!(
                        "the image has {} layers, more than {layers_max}",
                        layers.len()
                    )));
                }
                check_digests(layers.iter().chain([&config]))?;
                Ok(Self::Image { config, layers })
            }
            (None, None, Some(manifests)) => {
                if manifests.len() > INDEX_ENTRIES_MAX {
                    return Err(Failure::exhausted("the image index has too many entries"));
                }
                check_digests(manifests.iter())?;
                Ok(Self::Index(manifests))
            }
            _ => Err(Failure::invalid("the image manifest is neither an image nor an index")),
        }
    }
}

fn check_digests<'a>(mut descriptors: impl Iterator<Item = &'a Descriptor>) -> Result<()> {
    match descriptors.find(|descriptor| !is_digest(&descriptor.digest)) {
        None => Ok(()),
        Some(bad) => Err(Failure::invalid(format!("the manifest names an invalid digest {:?}", bad.digest))),
    }
}

/// The entry of an index that fits this machine: the right platform, else the only entry without one.
pub(crate) fn select(entries: &[Descriptor]) -> Result<&Descriptor> {
    let architecture = architecture();
    let fits = |entry: &&Descriptor| {
        entry
            .platform
            .as_ref()
            .is_some_and(|platform| platform.os == "linux" && platform.architecture == architecture)
    };
    let unnamed = || entries.iter().find(|entry| entry.platform.is_none());
    entries.iter().find(fits).or_else(unnamed).ok_or_else(|| {
        Failure::not_found(format!("no match for platform linux/{architecture} in the image index"))
    })
}

/// This machine in image vocabulary.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_entry_of_this_platform_is_chosen() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let other = format!("sha256:{}", "1".repeat(64));
        let text = format!(
            r#"{{"schemaVersion":2,"manifests":[
            {{"digest":"{other}","size":1,"platform":{{"os":"windows","architecture":"{arch}"}}}},
            {{"digest":"{digest}","size":1,"platform":{{"os":"linux","architecture":"{arch}"}}}}]}}"#,
            arch = architecture()
        );
        let Manifest::Index(entries) = Manifest::parse(text.as_bytes(), 10).unwrap() else { panic!("index") };
        assert_eq!(select(&entries).unwrap().digest, digest);
        assert!(select(&entries[..1]).is_err());
    }

    #[test]
    fn broken_manifests_are_refused() {
        for bad in [
            "",
            "{}",
            "[]",
            r#"{"schemaVersion":1}"#,
            r#"{"schemaVersion":2,"config":{"digest":"sha256:../../etc","size":1},"layers":[]}"#,
            r#"{"schemaVersion":2,"config":{"digest":"x","size":-1},"layers":[]}"#,
        ] {
            assert!(Manifest::parse(bad.as_bytes(), 10).is_err(), "{bad}");
        }
    }
}
