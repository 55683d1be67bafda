//! Which versions may be in one cluster at a time, and what waits until all of it is new enough (docs/operations/upgrades.md).
//!
//! Machines say their version when they join and whenever they start; the store remembers it with what else they said
//! (`authority/standing.rs`). Decisions here are pure.

use anyhow::Context as _;
use mainstay_base::version;
use mainstay_store::Store;

use crate::authority::{under_way, versions_said};
use crate::refusal::refuse;

/// What some version brings, and all machines must know before it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Feature {
    /// As people call it.
    pub(crate) name: &'static str,
    /// The major and minor version that brought it.
    pub(crate) since: (u64, u64),
}

/// [`crate::authority`].
pub(crate) const AUTHORITY_EXCHANGE: Feature = Feature { name: "exchanging the authority", since: (0, 1) };

/// The lowest version of all machines decides whether a feature may be used. `machines` are names and versions; one without
/// a version has never said any.
///
/// # Errors
/// Who is too old, with what to do.
pub(crate) fn gate(feature: Feature, machines: &[(&str, Option<&str>)]) -> Result<(), String> {
    let (major, minor) = feature.since;
    let is_old = |version: Option<&str>| version.and_then(numbers).is_none_or(|has| has < feature.since);
    let old: Vec<String> = machines
        .iter()
        .filter(|(_, version)| is_old(*version))
        .map(|(name, version)| format!("{name} ({})", version.unwrap_or("no version said")))
        .collect();
    if old.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{} needs {major}.{minor} or later on all machines; older are {}: upgrade them first",
        feature.name,
        old.join(", ")
    ))
}

/// Why a machine of `version` cannot be in a cluster now: what is under way there is newer than it.
pub(crate) fn lacks(under_way: Option<Feature>, version: &str) -> Option<String> {
    let Feature { name, since } = under_way?;
    let (major, minor) = since;
    let knows_it = numbers(version).is_some_and(|has| has >= since);
    (!knows_it).then(|| {
        format!(
            "{name} is under way in this cluster, and needs {major}.{minor} or later on all machines: mainstay {version} cannot be one of \
             them; upgrade it, or end that first"
        )
    })
}

/// Whether two versions may be in one cluster: they are of one major version, and one minor version apart at most.
pub(crate) fn fit(one: &str, other: &str) -> bool {
    match (numbers(one), numbers(other)) {
        (Some(one), Some(other)) => one.0 == other.0 && one.1.abs_diff(other.1) <= 1,
        _ => false,
    }
}

/// The first of the others that a machine of version `own` cannot be beside, in words.
pub(crate) fn misfit<'a>(own: &str, others: impl IntoIterator<Item = (&'a str, &'a str)>) -> Option<String> {
    let (name, version) = others.into_iter().find(|(_, version)| !fit(own, version))?;
    Some(format!(
        "mainstay {own} cannot run beside {name}, which has {version}: versions may be one minor apart at most; upgrade minor by minor, one machine after the other"
    ))
}

/// Refuses to be a server beside others that this version does not fit, or of a cluster where something newer is under way.
///
/// # Errors
/// A refusal that names the first of them, or what is under way; or the store's.
pub(crate) async fn check(store: &Store, own_name: &str) -> anyhow::Result<()> {
    let members = store.members(false).await.context("reading the servers of the cluster")?;
    let said = versions_said(store).await?;
    let others = members.iter().map(|member| member.name.as_str()).filter(|name| *name != own_name);
    let others = others.filter_map(|name| Some((name, said.get(name)?.as_str())));
    let why = misfit(version(), others).or(lacks(under_way(store).await?, version()));
    why.map_or(Ok(()), |why| Err(refuse(why)))
}

fn numbers(text: &str) -> Option<(u64, u64)> {
    let mut parts = text.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    /// What is asked, and what comes of it, line by line.
    const GOLDEN: &str = "\
1.4.0 beside a 1.4.9, b 1.5.0: runs
1.4.0 beside a 1.3.0: runs
1.4.0 beside a 1.5.0, b 1.6.0: mainstay 1.4.0 cannot run beside b, which has 1.6.0
1.4.0 beside a 2.4.0: mainstay 1.4.0 cannot run beside a, which has 2.4.0
1.4.0 beside a what: mainstay 1.4.0 cannot run beside a, which has what
1.4.0 beside nobody: runs
feature of 1.5 with a 1.5.0, b 1.6.2: on
feature of 1.5 with a 1.5.0, b 1.4.7: f needs 1.5 or later on all machines; older are b (1.4.7): upgrade them first
feature of 1.5 with a 1.5.0, b -: f needs 1.5 or later on all machines; older are b (no version said): upgrade them first
feature of 1.5 with a 2.0.0: on
1.4.9 while one of 1.5 is used: f is under way in this cluster, and needs 1.5 or later on all machines
what while one of 1.5 is used: f is under way in this cluster, and needs 1.5 or later on all machines
1.5.0 while one of 1.5 is used: runs
1.4.9 while nothing is used: runs
";

    #[test]
    fn the_lowest_version_decides() {
        let mut text = String::new();
        for line in GOLDEN.lines() {
            let asked = line.split_once(": ").unwrap().0;
            let said = if let Some((own, others)) = asked.split_once(" beside ") {
                let others = others.split(", ").filter_map(|one| one.split_once(' '));
                let why = misfit(own, others).unwrap_or_else(|| "runs".to_owned());
                why.split(": ").next().unwrap().to_owned()
            } else if let Some((own, used)) = asked.split_once(" while ") {
                let feature = Feature { name: "f", since: (1, 5) };
                let why = lacks((used == "one of 1.5 is used").then_some(feature), own);
                why.map_or_else(|| "runs".to_owned(), |why| why.split(": ").next().unwrap().to_owned())
            } else {
                let (_, machines) = asked.split_once(" with ").unwrap();
                let machines = machines.split(", ").map(|one| one.split_once(' ').unwrap());
                let machines: Vec<_> = machines
                    .map(|(name, version)| (name, Some(version).filter(|text| *text != "-")))
                    .collect();
                let feature = Feature { name: "f", since: (1, 5) };
                gate(feature, &machines).map_or_else(|why| why, |()| "on".to_owned())
            };
            writeln!(text, "{asked}: {said}").unwrap();
        }
        assert_eq!(text, GOLDEN);
    }
}
