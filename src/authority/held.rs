//! What a server's directory holds of an exchange: the new authority beside the old one, until it takes its place.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use mainstay_base::pki::{Ca, Leaf, pins};
use serde::{Deserialize, Serialize};

use super::lines::Pair;
use super::standing::Stage;
use crate::data_dir::{write_atomically, write_pair};
use crate::refusal::refuse;

const FILE: &str = "authority.json";
const FORMER: &str = "former-authorities";
/// The first form had no other authorities than the cluster's own.
const FORMAT_VERSION: u32 = 2;
/// Files below the data directory that another server needs too, where they are there.
pub(crate) const OPTIONAL: [&str; 2] = [NEW_AUTHORITY, "pki/former-authorities"];
/// The new authority, below the data directory.
pub(crate) const NEW_AUTHORITY: &str = "pki/authority.json";

/// `pki/authority.json`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Held {
    format_version: u32,
    /// How far the cluster is.
    pub(super) stage: Stage,
    /// The new authority, PEM.
    pub(super) certificate_pem: String,
    /// Its key, PEM.
    pub(super) key_pem: String,
    /// The new authorities of other lines, by their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) others: BTreeMap<String, Pair>,
}

impl Held {
    pub(super) fn new(
        stage: Stage,
        (certificate_pem, key_pem): (String, String),
        others: BTreeMap<String, Pair>,
    ) -> Self {
        Self { format_version: FORMAT_VERSION, stage, certificate_pem, key_pem, others }
    }

    pub(super) fn at(self, stage: Stage) -> Self {
        Self { stage, ..self }
    }

    pub(super) fn read(folder: &Path) -> anyhow::Result<Option<Self>> {
        let file = folder.join(FILE);
        let reading = || format!("reading {}", file.display());
        let text = match fs::read(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(reading),
        };
        let held: Self = serde_json::from_slice(&text).with_context(reading)?;
        if held.format_version == 0 || held.format_version > FORMAT_VERSION {
            return Err(refuse(format!(
                "{} has format {}, this mainstay reads up to {FORMAT_VERSION}: use the mainstay that made it",
                file.display(),
                held.format_version
            )));
        }
        Ok(Some(held))
    }

    /// Writes it where it is not what is there; whether it was not.
    pub(super) fn write(&self, folder: &Path) -> anyhow::Result<bool> {
        if Self::read(folder)?.as_ref() == Some(self) {
            return Ok(false);
        }
        let text = serde_json::to_vec_pretty(self).context("writing the new authority")?;
        write_atomically(&folder.join(FILE), &text, 0o600)?;
        Ok(true)
    }

    /// The new authorities take the place of the old ones. Interrupted, it is done again.
    fn take_place(&self, folder: &Path) -> anyhow::Result<()> {
        for (name, pair) in &self.others {
            write_pair(&folder.join(name), &pair.leaf(), true)?;
        }
        let file = folder.join("ca.crt");
        let old = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        if old != self.certificate_pem {
            let mut known = former(folder)?;
            known.extend(pins(&old).with_context(|| format!("reading {}", file.display()))?);
            known.dedup();
            write_atomically(&folder.join(FORMER), (known.join("\n") + "\n").as_bytes(), 0o644)?;
        }
        let pair = Leaf { certificate_pem: self.certificate_pem.clone(), key_pem: self.key_pem.clone() };
        write_pair(&folder.join("ca"), &pair, true)?;
        let file = folder.join(FILE);
        fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))
    }
}

/// How far the exchange is that a directory takes part in; none where there is none.
///
/// # Errors
/// A file that cannot be read.
pub(crate) fn stage_held(folder: &Path) -> anyhow::Result<Option<Stage>> {
    Ok(Held::read(folder)?.map(|held| held.stage))
}

/// The authorities that this cluster had before, by their pins: snapshots know them.
///
/// # Errors
/// The disk's.
pub(crate) fn former(folder: &Path) -> anyhow::Result<Vec<String>> {
    let file = folder.join(FORMER);
    match fs::read_to_string(&file) {
        Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("reading {}", file.display())),
    }
}

/// All authorities that a folder of keys knows its cluster by, by their pins: those of now, the one that comes, and those that it had; none where
/// there is none yet.
///
/// # Errors
/// The disk's, or files that cannot be read.
pub(crate) fn known_authorities(folder: &Path) -> anyhow::Result<Vec<String>> {
    let file = folder.join("ca.crt");
    let own = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("reading {}", file.display())),
    };
    let mut known = pins(&own).with_context(|| format!("reading {}", file.display()))?;
    if let Some(coming) = Held::read(folder)? {
        known.extend(pins(&coming.certificate_pem)?);
    }
    known.extend(former(folder)?);
    Ok(known)
}

/// The authorities of a cluster: one, or two while it exchanges them.
#[derive(Clone)]
pub(crate) struct Authorities {
    /// Issues the certificates of the cluster's own parts.
    pub(crate) signing: Ca,
    /// Issues those that API servers show.
    pub(crate) serving: Ca,
    /// The authority that comes, by its pin, and how far that is; none while there is one authority.
    coming: Option<(String, Stage)>,
    /// All that are trusted, PEM; the one that API servers' certificates are of comes first.
    pub(crate) trusted_pem: String,
}

impl Authorities {
    /// Those of the folder of keys, in which `own` makes the first one. An exchange that has ended is taken in.
    ///
    /// # Errors
    /// Files that cannot be read or written.
    pub(crate) fn ensure(folder: &Path, own: impl FnOnce() -> anyhow::Result<Ca>) -> anyhow::Result<Self> {
        let held = Held::read(folder)?;
        if let Some(ended) = held.as_ref().filter(|held| held.stage == Stage::Dropped) {
            ended.take_place(folder)?;
        }
        let old = own()?;
        let Some(held) = held.filter(|held| held.stage != Stage::Dropped) else {
            let trusted_pem = old.certificate_pem().to_owned();
            return Ok(Self { signing: old.clone(), serving: old, coming: None, trusted_pem });
        };
        let new = Ca::from_pem(held.certificate_pem, held.key_pem).context("using the new authority")?;
        let coming = Some((pins(new.certificate_pem())?.concat(), held.stage));
        let signing = if held.stage >= Stage::Issued { &new } else { &old }.clone();
        let (serving, other) = if held.stage >= Stage::Served { (new, old) } else { (old, new) };
        let trusted_pem = [serving.certificate_pem(), other.certificate_pem()].map(ended).concat();
        Ok(Self { signing, serving, coming, trusted_pem })
    }

    /// How far the exchange is, as [`stage_name`] has it.
    ///
    /// # Errors
    /// A certificate that cannot be read.
    pub(super) fn stage(&self) -> anyhow::Result<String> {
        Ok(match &self.coming {
            Some((new, stage)) => stage_name(new, *stage),
            None => stage_name(&pins(self.serving.certificate_pem())?.concat(), Stage::Dropped),
        })
    }
}

/// A stage of the exchange for one authority, by its pin, as machines compare it.
pub(super) fn stage_name(new: &str, stage: Stage) -> String {
    format!("{new}/{stage:?}").to_lowercase()
}

fn ended(pem: &str) -> String {
    format!("{}\n", pem.trim_end())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use time::OffsetDateTime;

    #[test]
    fn each_stage_says_who_issues_and_who_is_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path();
        let make = |name| Ca::generate(name, OffsetDateTime::now_utc(), Duration::from_secs(3600)).unwrap();
        let (old, new) = (make("old"), make("new"));
        fs::write(folder.join("ca.crt"), old.certificate_pem()).unwrap();
        fs::write(folder.join("ca.key"), old.key_pem()).unwrap();
        let read = || {
            let file = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
            Authorities::ensure(folder, || Ok(Ca::from_pem(file("ca.crt"), file("ca.key"))?)).unwrap()
        };
        let name = |pem: &str| if pem == old.certificate_pem() { "old" } else { "new" };
        let told = |all: &Authorities| {
            let trusted = pins(&all.trusted_pem).unwrap();
            let old_pin = pins(old.certificate_pem()).unwrap();
            let trusted: Vec<_> =
                trusted.iter().map(|pin| if *pin == old_pin[0] { "old" } else { "new" }).collect();
            let (signs, serves) = (name(all.signing.certificate_pem()), name(all.serving.certificate_pem()));
            format!("{signs} signs, {serves} serves, trusted: {}", trusted.join(" "))
        };
        let at = |stage| {
            let authority = (new.certificate_pem().to_owned(), new.key_pem().to_owned());
            let held = Held::new(stage, authority, BTreeMap::new());
            assert!(held.write(folder).unwrap());
            assert!(stage == Stage::Dropped || !held.write(folder).unwrap(), "it is there already");
            told(&read())
        };
        assert_eq!(told(&read()), "old signs, old serves, trusted: old");
        assert_eq!(at(Stage::Trusted), "old signs, old serves, trusted: old new");
        assert_eq!(at(Stage::Issued), "new signs, old serves, trusted: old new");
        assert_eq!(at(Stage::Served), "new signs, new serves, trusted: new old");
        assert_eq!(at(Stage::Dropped), "new signs, new serves, trusted: new");
        assert_eq!(stage_held(folder).unwrap(), None);
        assert_eq!(former(folder).unwrap(), pins(old.certificate_pem()).unwrap());
        // Killed before the file was removed: it is done again.
        assert_eq!(at(Stage::Dropped), "new signs, new serves, trusted: new");
        assert_eq!(former(folder).unwrap().len(), 1);
        assert_eq!(told(&read()), "new signs, new serves, trusted: new");
    }
}
