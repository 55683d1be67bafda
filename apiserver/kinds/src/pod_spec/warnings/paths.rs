//! Files of one volume that come to lie on or below each other.

use mainstay_apiserver_machinery::validation::{At, quote};
use std::fmt;

/// A path in a volume, and what it comes from; empty where the volume has one source.
#[derive(Clone, PartialEq, Eq)]
struct Placed {
    path: String,
    source: String,
}

impl fmt::Display for Placed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&quote(&self.path))?;
        if self.source.is_empty() { Ok(()) } else { write!(f, " ({})", self.source) }
    }
}

impl Placed {
    fn new(path: &str, source: &str) -> Self {
        Self { path: path.trim_end_matches('/').into(), source: source.into() }
    }

    /// Whether one of the two is the other, or a folder above it.
    fn overlaps(&self, other: &Self) -> bool {
        let below = |path: &str, folder: &str| {
            path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let (one, two) = (self.path.as_str(), other.path.as_str());
        !one.is_empty() && !two.is_empty() && (below(one, two) || below(two, one))
    }
}

/// Sources with items, and the field that names the object.
const SOURCES: &[(&str, &str, &str)] = &[
    ("configMap", "ConfigMap", "name"),
    ("secret", "Secret", "secretName"),
    ("downwardAPI", "DownwardAPI", ""),
];

/// Warns of paths in volumes that overlap.
pub(super) fn overlaps(volumes: &At<'_>, out: &mut Vec<String>) {
    for volume in volumes.items() {
        for (field, kind, name) in SOURCES {
            let source = volume.get(field);
            if !source.has("items") {
                continue;
            }
            compare(&volume, &described(&source, kind, name), &items(&source, ""), out);
        }
        projected(&volume, out);
    }
}

fn projected(volume: &At<'_>, out: &mut Vec<String>) {
    let mut placed = Vec::new();
    for source in volume.get("projected").get("sources").items() {
        if source.is_empty() {
            let name = quote(volume.text_of("name"));
            out.push(format!("volume {name} (Projected) has no sources provided"));
        }
        placed.extend(of_projection(&source));
    }
    compare(volume, "Projected", &placed, out);
}

/// Where a source of a projected volume puts files.
fn of_projection(source: &At<'_>) -> Vec<Placed> {
    for (field, kind, _) in SOURCES {
        let own = source.get(field);
        if own.has("items") {
            return items(&own, &described(&own, kind, if *kind == "DownwardAPI" { "" } else { "name" }));
        }
    }
    let one =
        |field: &str, path: &str| Some(source.get(field)).filter(At::is_set).map(|own| own.text_of(path));
    if let Some(path) = one("serviceAccountToken", "path") {
        return vec![Placed::new(path, "ServiceAccountToken")];
    }
    if let Some(path) = one("clusterTrustBundle", "path") {
        let bundle = source.get("clusterTrustBundle");
        let name = bundle.text_of(if bundle.has("name") { "name" } else { "signerName" });
        return vec![Placed::new(path, &format!("ClusterTrustBundle {}", quote(name)))];
    }
    let certificate = source.get("podCertificate");
    [
        ("certificateChainPath", "PodCertificate chain"),
        ("keyPath", "PodCertificate key"),
        ("credentialBundlePath", "PodCertificate credential bundle"),
    ]
    .iter()
    .map(|(field, what)| Placed::new(certificate.text_of(field), what))
    .filter(|placed| !placed.path.is_empty())
    .collect()
}

/// What a source is called in a warning.
fn described(source: &At<'_>, kind: &str, name: &str) -> String {
    if name.is_empty() { kind.to_owned() } else { format!("{kind} {}", quote(source.text_of(name))) }
}

fn items(source: &At<'_>, described: &str) -> Vec<Placed> {
    source.get("items").items().map(|item| Placed::new(item.text_of("path"), described)).collect()
}

fn compare(volume: &At<'_>, described: &str, placed: &[Placed], out: &mut Vec<String>) {
    let name = quote(volume.text_of("name"));
    for (i, one) in placed.iter().enumerate() {
        for other in placed.iter().take(i).filter(|other| one.overlaps(other)) {
            out.push(format!("volume {name} ({described}): overlapping paths: {one} with {other}"));
        }
    }
}
