//! Fields of features that upstream's 1.37 has off by default. A write drops them, unless the stored object has such a
//! field already.

use mainstay_apiserver_machinery::value::Value;

/// Steps to a field; `*` is every item of a list.
type Steps = &'static [&'static str];

/// Of a pod's spec: `EvictionRequestAPI`, `GenericWorkload`.
const SPEC: &[Steps] = &[&["evictionResponders"], &["schedulingGroup"]];

/// Of a volume: `EmptyDirVolumeMode`, and `AtomicWriteVolumeUserFields` for all others.
const VOLUME: &[Steps] = &[
    &["emptyDir", "mode"],
    &["configMap", "defaultUser"],
    &["configMap", "items", "*", "user"],
    &["secret", "defaultUser"],
    &["secret", "items", "*", "user"],
    &["downwardAPI", "defaultUser"],
    &["downwardAPI", "items", "*", "user"],
    &["projected", "defaultUser"],
    &["projected", "sources", "*", "configMap", "items", "*", "user"],
    &["projected", "sources", "*", "secret", "items", "*", "user"],
    &["projected", "sources", "*", "downwardAPI", "items", "*", "user"],
    &["projected", "sources", "*", "serviceAccountToken", "user"],
    &["projected", "sources", "*", "clusterTrustBundle", "user"],
    &["projected", "sources", "*", "podCertificate", "user"],
];

/// Of a container: `VolumeBindMountOptions`, `ContainerStopSignals`, `GRPCContainerProbeTLS`, `H2CContainerProbe`.
const CONTAINER: &[Steps] = &[
    &["volumeMounts", "*", "bindMountOptions"],
    &["lifecycle", "stopSignal"],
    &["livenessProbe", "grpc", "mode"],
    &["livenessProbe", "httpGet", "protocol"],
    &["readinessProbe", "grpc", "mode"],
    &["readinessProbe", "httpGet", "protocol"],
    &["startupProbe", "grpc", "mode"],
    &["startupProbe", "httpGet", "protocol"],
];

/// Where a pod's spec has them.
const POD: &[(Steps, &[Steps])] = &[
    (&[], SPEC),
    (&["volumes", "*"], VOLUME),
    (&["initContainers", "*"], CONTAINER),
    (&["containers", "*"], CONTAINER),
    (&["ephemeralContainers", "*"], CONTAINER),
];

/// Drops those of a pod, or a pod template, whose spec is at `path`.
pub(crate) fn drop_in_pod(new: &mut Value, old: Option<&Value>, path: &[&str]) {
    let old = old.and_then(|old| old.path(path));
    let Some(spec) = new.path_mut(path) else { return };
    for (place, fields) in POD {
        for field in *fields {
            drop_one(spec, old, place, field);
        }
    }
}

/// Drops these fields.
pub(crate) fn drop_fields(new: &mut Value, old: Option<&Value>, fields: &[Steps]) {
    for field in fields {
        drop_one(new, old, field, &[]);
    }
}

fn drop_one(new: &mut Value, old: Option<&Value>, place: &[&str], field: &[&str]) {
    if has(new, place, field) && !old.is_some_and(|old| has(old, place, field)) {
        remove(new, place, field);
    }
}

/// Whether anything stands at the end of the steps, and of those that come after them.
fn has(value: &Value, steps: &[&str], then: &[&str]) -> bool {
    match steps.split_first() {
        None if then.is_empty() => !value.is_null(),
        None => has(value, then, &[]),
        Some((&"*", rest)) => value.as_list().unwrap_or_default().iter().any(|item| has(item, rest, then)),
        Some((name, rest)) => value.get(name).is_some_and(|value| has(value, rest, then)),
    }
}

fn remove(value: &mut Value, steps: &[&str], then: &[&str]) {
    let Some((step, rest)) = steps.split_first() else {
        if !then.is_empty() {
            remove(value, then, &[]);
        }
        return;
    };
    if *step == "*" {
        for item in value.as_list_mut().into_iter().flatten() {
            remove(item, rest, then);
        }
        return;
    }
    let Some(map) = value.as_map_mut() else { return };
    if rest.is_empty() && then.is_empty() {
        map.remove(step);
    } else if let Some(below) = map.get_mut(step) {
        remove(below, rest, then);
        // One that only had a signal is none.
        if *step == "lifecycle" && below.is_empty() {
            map.remove(step);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_apiserver_machinery::value;

    const FIELDS: &[Steps] = &[&["list", "*", "lifecycle", "stopSignal"], &["list", "*", "plain"]];

    #[test]
    fn fields_of_features_that_are_off_go_unless_the_old_object_has_one() {
        let wanted = value!({"list": [
            {"plain": 1, "kept": 2, "lifecycle": {"stopSignal": "SIGINT"}},
            {"lifecycle": {"stopSignal": "SIGINT", "preStop": {}}},
        ]});
        let mut new = wanted.clone();
        drop_fields(&mut new, None, FIELDS);
        assert_eq!(new, value!({"list": [{"kept": 2}, {"lifecycle": {"preStop": {}}}]}));
        let (mut new, old) = (wanted.clone(), value!({"list": [{"plain": 3}]}));
        drop_fields(&mut new, Some(&old), FIELDS);
        assert_eq!(new, value!({"list": [{"plain": 1, "kept": 2}, {"lifecycle": {"preStop": {}}}]}));
        let mut new = wanted.clone();
        drop_fields(&mut new, Some(&wanted), FIELDS);
        assert_eq!(new, wanted);
    }
}
