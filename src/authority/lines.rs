//! The authorities that servers have beside the cluster's own: that of the store's members, and that of the front proxy. They are
//! exchanged with it, stage by stage; workers have nothing to do with them.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use mainstay_base::pki::{Ca, Leaf, issuer, pins};
use serde::{Deserialize, Serialize};

use super::held::Held;
use super::standing::Stage;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// What its files are called, without their ends.
    pub(crate) name: &'static str,
    /// Of whom it is, in words.
    pub(super) words: &'static str,
    /// The stage from which on certificates are of the new one.
    pub(super) shown_from: Stage,
}

/// Of the store's members: they show new certificates once all of them trust both.
pub(crate) const PEERS: Line =
    Line { name: "peer-ca", words: "the store's members", shown_from: Stage::Issued };
/// Of the front proxy. Extension servers are told of the new one in the first stage; what they read is their own affair, so that they get as
/// long as clients do before API servers show a certificate of it.
pub(crate) const FRONT_PROXY: Line =
    Line { name: "front-proxy-ca", words: "the front proxy", shown_from: Stage::Served };
/// All of them.
pub(super) const LINES: [Line; 2] = [PEERS, FRONT_PROXY];

/// An authority with its key, PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Pair {
    pub(super) certificate_pem: String,
    pub(super) key_pem: String,
}

impl Pair {
    pub(super) fn of(ca: &Ca) -> Self {
        Self { certificate_pem: ca.certificate_pem().to_owned(), key_pem: ca.key_pem().to_owned() }
    }

    pub(super) fn leaf(&self) -> Leaf {
        Leaf { certificate_pem: self.certificate_pem.clone(), key_pem: self.key_pem.clone() }
    }
}

/// What a server trusts and shows of a line. Authorities go by their pins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LineStanding {
    /// The authorities that it trusts.
    pub(super) trusts: Vec<String>,
    /// The one that its certificate is of; none where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) shows: Option<String>,
}

impl LineStanding {
    /// Of the authorities that are trusted, PEM, and the certificate that is shown, if there is one.
    ///
    /// # Errors
    /// A text that holds no certificate.
    pub(crate) fn new(trusted_pem: &str, shown: Option<&Leaf>) -> anyhow::Result<Self> {
        let of = |leaf: &Leaf| issuer(&leaf.certificate_pem, trusted_pem).map(Option::unwrap_or_default);
        Ok(Self { trusts: pins(trusted_pem)?, shows: shown.map(of).transpose()? })
    }

    /// What is lacking of a stage for the new authority `new`, as the end of a sentence.
    pub(super) fn lacks(&self, line: Line, stage: Stage, new: &str) -> Option<String> {
        let Line { words, shown_from, .. } = line;
        if !self.trusts.iter().any(|pin| pin == new) {
            return Some(format!("does not trust the new authority of {words} yet"));
        }
        if stage >= shown_from && self.shows.as_ref().is_some_and(|pin| pin != new) {
            return Some(format!("has a certificate of the old authority of {words} still"));
        }
        let is_alone = self.trusts.iter().all(|pin| pin == new);
        (stage == Stage::Dropped && !is_alone).then(|| format!("trusts the old authority of {words} still"))
    }
}

/// The authorities of a line: one, or two while they are exchanged.
#[derive(Clone)]
pub(crate) struct LineAuthorities {
    /// Issues certificates now.
    pub(crate) signing: Ca,
    /// All that are trusted, PEM; the one that issues comes first.
    pub(crate) trusted_pem: String,
}

impl LineAuthorities {
    /// Those of the folder of keys, in which `own` makes the first one. After [`super::Authorities::ensure`], which takes an exchange in
    /// that has ended.
    ///
    /// # Errors
    /// Files that cannot be read or written.
    pub(crate) fn ensure(
        folder: &Path,
        line: Line,
        own: impl FnOnce() -> anyhow::Result<Ca>,
    ) -> anyhow::Result<Self> {
        let old = own()?;
        let held = Held::read(folder)?.filter(|held| held.stage != Stage::Dropped);
        let coming = held.and_then(|mut held| Some((held.stage, held.others.remove(line.name)?)));
        let Some((stage, new)) = coming else {
            let trusted_pem = old.certificate_pem().to_owned();
            return Ok(Self { signing: old, trusted_pem });
        };
        let new = Ca::from_pem(new.certificate_pem, new.key_pem);
        let new = new.with_context(|| format!("using the new authority of {}", line.words))?;
        let (signing, other) = if stage >= line.shown_from { (new, old) } else { (old, new) };
        let trusted_pem =
            [&signing, &other].map(|ca| format!("{}\n", ca.certificate_pem().trim_end())).concat();
        Ok(Self { signing, trusted_pem })
    }
}

/// New authorities for all lines, by their names: their pins, and the pairs.
///
/// # Errors
/// They cannot be made.
pub(super) fn make(
    mut generate: impl FnMut(&str) -> anyhow::Result<Ca>,
) -> anyhow::Result<(BTreeMap<String, String>, BTreeMap<String, Pair>)> {
    let (mut new, mut pairs) = (BTreeMap::new(), BTreeMap::new());
    for line in LINES {
        let ca = generate(line.name)?;
        new.insert(line.name.to_owned(), pins(ca.certificate_pem())?.concat());
        pairs.insert(line.name.to_owned(), Pair::of(&ca));
    }
    Ok((new, pairs))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use time::OffsetDateTime;

    use super::*;

    fn ca(name: &str) -> Ca {
        Ca::generate(name, OffsetDateTime::now_utc(), Duration::from_secs(3600)).unwrap()
    }

    #[test]
    fn each_stage_says_who_issues_and_who_is_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new, main) = (ca("old"), ca("new"), ca("main"));
        let told = |line: Line| {
            let all = LineAuthorities::ensure(dir.path(), line, || {
                Ok(Ca::from_pem(old.certificate_pem().to_owned(), old.key_pem().to_owned())?)
            });
            let all = all.unwrap();
            let name =
                |pin: &String| if *pin == pins(old.certificate_pem()).unwrap()[0] { "old" } else { "new" };
            let signs = name(&pins(all.signing.certificate_pem()).unwrap()[0]);
            let trusted: Vec<_> = pins(&all.trusted_pem).unwrap().iter().map(name).collect();
            format!("{signs} signs, trusted: {}", trusted.join(" "))
        };
        assert_eq!(told(PEERS), "old signs, trusted: old");
        let at = |stage, line: Line| {
            let main = (main.certificate_pem().to_owned(), main.key_pem().to_owned());
            let others = LINES.map(|line| (line.name.to_owned(), Pair::of(&new)));
            Held::new(stage, main, BTreeMap::from(others)).write(dir.path()).unwrap();
            told(line)
        };
        assert_eq!(at(Stage::Trusted, PEERS), "old signs, trusted: old new");
        assert_eq!(at(Stage::Trusted, FRONT_PROXY), "old signs, trusted: old new");
        assert_eq!(at(Stage::Issued, PEERS), "new signs, trusted: new old");
        assert_eq!(at(Stage::Issued, FRONT_PROXY), "old signs, trusted: old new");
        assert_eq!(at(Stage::Served, PEERS), "new signs, trusted: new old");
        assert_eq!(at(Stage::Served, FRONT_PROXY), "new signs, trusted: new old");
    }

    #[test]
    fn what_a_server_lacks_of_a_stage_is_said() {
        let standing = |trusts: &[&str], shows: &str| LineStanding {
            trusts: trusts.iter().map(|pin| (*pin).to_owned()).collect(),
            shows: Some(shows.to_owned()),
        };
        let lacks = |standing: &LineStanding, line, stage| standing.lacks(line, stage, "new");
        let before = standing(&["old"], "old");
        let both = standing(&["old", "new"], "old");
        let shown = standing(&["new", "old"], "new");
        let ended = standing(&["new"], "new");
        let untrusted = "does not trust the new authority of the store's members yet";
        assert_eq!(lacks(&before, PEERS, Stage::Trusted).as_deref(), Some(untrusted));
        assert_eq!(lacks(&both, PEERS, Stage::Trusted), None);
        let old = "has a certificate of the old authority of the store's members still";
        assert_eq!(lacks(&both, PEERS, Stage::Issued).as_deref(), Some(old));
        assert_eq!(lacks(&both, FRONT_PROXY, Stage::Issued), None, "extension servers get more time");
        assert!(lacks(&both, FRONT_PROXY, Stage::Served).is_some());
        assert_eq!(lacks(&shown, FRONT_PROXY, Stage::Served), None);
        let dropped = "trusts the old authority of the front proxy still";
        assert_eq!(lacks(&shown, FRONT_PROXY, Stage::Dropped).as_deref(), Some(dropped));
        assert_eq!(lacks(&ended, FRONT_PROXY, Stage::Dropped), None);
        let alone = LineStanding { shows: None, ..both };
        assert_eq!(lacks(&alone, PEERS, Stage::Issued), None, "a server that has no others shows nothing");
    }
}
