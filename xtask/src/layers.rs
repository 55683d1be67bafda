//! Imports go down only: the edges between our crates, and the crates that may appear in one place only.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::Context;
use serde::Deserialize;

/// docs/layers.toml.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Layers {
    /// For each crate's folder, the folders it may depend on.
    edges: BTreeMap<String, BTreeSet<String>>,
    /// For each guarded outside crate, the folders that may use it.
    only_in: BTreeMap<String, BTreeSet<String>>,
}

/// Every edge that docs/layers.toml does not allow.
///
/// # Errors
/// A manifest or the layers file cannot be read.
pub(crate) fn check(root: &Path) -> anyhow::Result<Vec<String>> {
    let layers: Layers = read(&root.join("docs/layers.toml"))?;
    let workspace: toml::Table = read(&root.join("Cargo.toml"))?;
    let folders = own_crates(&workspace)?;
    let mut problems = Vec::new();
    for folder in folders.values() {
        let manifest: toml::Table = read(&root.join(folder).join("Cargo.toml"))?;
        problems.extend(wrong_edges(folder, &dependencies(&manifest), &folders, &layers));
    }
    Ok(problems)
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("parsing {}", path.display()))
}

/// Package name → folder, of every crate of this workspace that is a library.
fn own_crates(workspace: &toml::Table) -> anyhow::Result<BTreeMap<String, String>> {
    let listed = workspace
        .get("workspace")
        .and_then(|table| table.get("dependencies"))
        .and_then(toml::Value::as_table)
        .context("the root manifest has no [workspace.dependencies]")?;
    let folder = |value: &toml::Value| value.get("path").and_then(toml::Value::as_str).map(str::to_owned);
    Ok(listed.iter().filter_map(|(name, value)| Some((name.clone(), folder(value)?))).collect())
}

fn dependencies(manifest: &toml::Table) -> BTreeSet<String> {
    let names = |section: &str| {
        let table = manifest.get(section).and_then(toml::Value::as_table);
        table.into_iter().flat_map(|table| table.keys().cloned()).collect::<Vec<_>>()
    };
    names("dependencies").into_iter().chain(names("build-dependencies")).collect()
}

fn wrong_edges(
    folder: &str,
    uses: &BTreeSet<String>,
    folders: &BTreeMap<String, String>,
    layers: &Layers,
) -> Vec<String> {
    let Some(allowed) = layers.edges.get(folder) else {
        return vec![format!("docs/layers.toml has no line for {folder}")];
    };
    let mut problems = Vec::new();
    for name in uses {
        if let Some(target) = folders.get(name).filter(|target| !allowed.contains(*target)) {
            problems.push(format!("{folder} must not depend on {target}"));
        }
        if let Some(homes) = layers.only_in.get(name).filter(|homes| !homes.contains(folder)) {
            problems.push(format!("{folder} must not use {name}: it belongs to {homes:?}"));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers() -> Layers {
        toml::from_str("[edges]\nstore = [\"base\"]\nbase = []\n[only_in]\nrocksdb = [\"store\"]\n").unwrap()
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn edges_go_down_only() {
        let folders = BTreeMap::from([
            ("mainstay-base".to_owned(), "base".to_owned()),
            ("mainstay-store".to_owned(), "store".to_owned()),
        ]);
        assert!(wrong_edges("store", &set(&["mainstay-base", "rocksdb"]), &folders, &layers()).is_empty());
        let up = wrong_edges("base", &set(&["mainstay-store"]), &folders, &layers());
        assert_eq!(up, ["base must not depend on store"]);
        let foreign = wrong_edges("base", &set(&["rocksdb"]), &folders, &layers());
        assert!(foreign[0].contains("must not use rocksdb"), "{foreign:?}");
        assert!(wrong_edges("runtime", &set(&[]), &folders, &layers())[0].contains("no line"));
    }
}
