//! The annotations that carry a rollout's bookkeeping.

use std::collections::BTreeMap;

use kube::core::ObjectMeta;

pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
pub(super) const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MAX: &str = "deployment.kubernetes.io/max-replicas";
/// Annotations that belong to one object and are not handed on from deployment to replica set.
const OWN: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED,
    MAX,
    "deprecated.deployment.rollback.to",
];
const HISTORY_BYTES_MAX: usize = 2000;

/// The revision in the annotations; 0 when there is none.
pub(super) fn revision_of(meta: &ObjectMeta) -> i64 {
    get(meta, REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// A number in an annotation.
pub(super) fn number(meta: &ObjectMeta, key: &str) -> Option<i32> {
    get(meta, key).and_then(|text| text.parse().ok())
}

fn get<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a String> {
    meta.annotations.as_ref()?.get(key)
}

/// The deployment's annotations that its replica sets carry too.
pub(super) fn handed_on(deployment: &ObjectMeta) -> BTreeMap<String, String> {
    deployment
        .annotations
        .iter()
        .flatten()
        .filter(|(key, _)| !OWN.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// What has to change in a replica set's annotations so that it carries the deployment's and is of `revision` or later.
/// An earlier revision that it had goes into its history.
pub(super) fn changes(
    replica_set: &ObjectMeta,
    deployment: &ObjectMeta,
    revision: i64,
) -> BTreeMap<String, String> {
    let mut changes = handed_on(deployment);
    let present = revision_of(replica_set);
    if present < revision {
        changes.insert(REVISION.to_owned(), revision.to_string());
        if present > 0 {
            let history = get(replica_set, REVISION_HISTORY).cloned().unwrap_or_default();
            let mut past: Vec<&str> = history.split(',').filter(|entry| !entry.is_empty()).collect();
            let present = present.to_string();
            past.push(&present);
            while past.iter().map(|entry| entry.len() + 1).sum::<usize>() > HISTORY_BYTES_MAX {
                past.remove(0);
            }
            changes.insert(REVISION_HISTORY.to_owned(), past.join(","));
        }
    }
    changes.retain(|key, value| get(replica_set, key) != Some(value));
    changes
}
