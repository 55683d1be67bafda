//! The APIServices of what this server answers itself: one for each group and version, made and taken away with it. Pure.

use std::collections::BTreeMap;

use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::value;
use mainstay_apiserver_machinery::value::Value;

/// The label of APIServices that the server manages.
pub(super) const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
/// Priorities of custom resources.
const CUSTOM: (i64, i64) = (1000, 100);
/// Priorities of versions that are not in the list.
const OTHER: (i64, i64) = (15_000, 15);

/// Upstream's priorities of groups.
const GROUPS: [(&str, i64); 20] = [
    ("", 18_000),
    ("apps", 17_800),
    ("events.k8s.io", 17_750),
    ("authentication.k8s.io", 17_700),
    ("authorization.k8s.io", 17_600),
    ("autoscaling", 17_500),
    ("batch", 17_400),
    ("certificates.k8s.io", 17_300),
    ("networking.k8s.io", 17_200),
    ("policy", 17_100),
    ("rbac.authorization.k8s.io", 17_000),
    ("storage.k8s.io", 16_800),
    ("apiextensions.k8s.io", 16_700),
    ("admissionregistration.k8s.io", 16_700),
    ("scheduling.k8s.io", 16_600),
    ("coordination.k8s.io", 16_500),
    ("node.k8s.io", 16_300),
    ("discovery.k8s.io", 16_200),
    ("flowcontrol.apiserver.k8s.io", 16_100),
    ("resource.k8s.io", 16_050),
];

/// The APIServices that should be there for `kinds`, by name.
pub(super) fn wanted(kinds: &[&'static Kind]) -> BTreeMap<String, Value> {
    let mut wanted = BTreeMap::new();
    for kind in kinds {
        if kind.group == "apiregistration.k8s.io" {
            continue;
        }
        let name = format!("{}.{}", kind.version, kind.group);
        wanted.entry(name).or_insert_with_key(|name| service(kind, name));
    }
    wanted
}

fn service(kind: &Kind, name: &str) -> Value {
    let (group, version) = if kind.is_custom {
        CUSTOM
    } else {
        let known = GROUPS.iter().find(|(group, _)| *group == kind.group);
        let version = match (kind.group, kind.version) {
            ("", _) => 1,
            ("autoscaling", "v2") => 30,
            ("events.k8s.io", _) => 5,
            _ => OTHER.1,
        };
        (known.map_or(OTHER.0, |(_, priority)| *priority), version)
    };
    let managed = if kind.is_custom { "true" } else { "onstart" };
    let mut spec =
        value!({"version": kind.version, "groupPriorityMinimum": group, "versionPriority": version});
    if !kind.group.is_empty() {
        spec.set_path(&["group"], kind.group);
    }
    let mut object = value!({
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": name},
        "spec": spec,
    });
    object.set_path(&["metadata", "labels", MANAGED], managed);
    object
}
