//! Which objects a quota with scopes counts.

use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::value::Value;

use crate::admission::pod_amounts::amounts;

/// One scope of a quota: the bare names and the selector's expressions in one form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scope {
    name: String,
    operator: String,
    values: Vec<String>,
}

/// The scopes of a quota.
pub(super) fn of_quota(quota: &Value) -> Vec<Scope> {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let bare = quota.path_list(&["spec", "scopes"]).iter().map(|scope| Scope {
        name: text(Some(scope)),
        operator: "Exists".to_owned(),
        values: Vec::new(),
    });
    let expressions =
        quota.path_list(&["spec", "scopeSelector", "matchExpressions"]).iter().map(|one| Scope {
            name: text(one.get("scopeName")),
            operator: text(one.get("operator")),
            values: one.path_list(&["values"]).iter().map(|value| text(Some(value))).collect(),
        });
    bare.chain(expressions).collect()
}

/// Whether all scopes hold for an object. Objects that a scope says nothing about are not in it.
pub(super) fn hold(scopes: &[Scope], kind: &Kind, object: &Value) -> bool {
    scopes.iter().all(|scope| holds(scope, kind, object))
}

fn holds(scope: &Scope, kind: &Kind, object: &Value) -> bool {
    if !kind.group.is_empty() {
        return false;
    }
    match (kind.plural, scope.name.as_str()) {
        ("pods", "Terminating") => ends(object),
        ("pods", "NotTerminating") => !ends(object),
        ("pods", "BestEffort") => asks_nothing(object),
        ("pods", "NotBestEffort") => !asks_nothing(object),
        ("pods", "PriorityClass") => {
            selects(scope, object.path_str(&["spec", "priorityClassName"]).filter(|name| !name.is_empty()))
        }
        ("pods", "CrossNamespacePodAffinity") => crosses_namespaces(object),
        ("persistentvolumeclaims", "VolumeAttributesClass") => {
            let class = object.path_str(&["spec", "volumeAttributesClassName"]);
            selects(scope, class.filter(|name| !name.is_empty()))
        }
        _ => false,
    }
}

/// Whether a pod has a deadline.
fn ends(pod: &Value) -> bool {
    pod.path_i64(&["spec", "activeDeadlineSeconds"]).is_some_and(|seconds| seconds >= 0)
}

/// Whether a pod is of the quality of service `BestEffort`.
fn asks_nothing(pod: &Value) -> bool {
    let states = |holder: &Value| {
        ["requests", "limits"].iter().any(|side| {
            let stated = amounts(holder, &["resources", side]);
            stated.iter().any(|(name, amount)| matches!(name.as_str(), "cpu" | "memory") && !amount.is_zero())
        })
    };
    let Some(spec) = pod.get("spec") else { return true };
    let mut containers = ["containers", "initContainers"].iter().flat_map(|list| spec.path_list(&[list]));
    !states(spec) && !containers.any(states)
}

fn selects(scope: &Scope, value: Option<&str>) -> bool {
    let listed = value.is_some_and(|value| scope.values.iter().any(|one| one == value));
    match scope.operator.as_str() {
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "In" => listed,
        "NotIn" => !listed,
        _ => false,
    }
}

/// Whether the pod's affinity looks into other namespaces.
fn crosses_namespaces(pod: &Value) -> bool {
    let term =
        |term: &Value| !term.path_list(&["namespaces"]).is_empty() || term.get("namespaceSelector").is_some();
    ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
        let Some(affinity) = pod.path(&["spec", "affinity", kind]) else { return false };
        let required = affinity.path_list(&["requiredDuringSchedulingIgnoredDuringExecution"]);
        let preferred = affinity.path_list(&["preferredDuringSchedulingIgnoredDuringExecution"]);
        required.iter().any(term) || preferred.iter().any(|one| one.get("podAffinityTerm").is_some_and(term))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_apiserver_kinds::POD;
    use mainstay_apiserver_machinery::value;

    #[test]
    fn scopes_choose_pods() {
        let holds = |quota: Value, spec: Value| hold(&of_quota(&quota), &POD, &value!({"spec": spec}));
        let scoped = |name: &str| value!({"spec": {"scopes": [name]}});
        let ending = || value!({"activeDeadlineSeconds": 5, "containers": [{}]});
        let sized =
            || value!({"containers": [{"resources": {"limits": {"cpu": "1"}}}], "priorityClassName": "high"});
        assert!(holds(scoped("Terminating"), ending()) && !holds(scoped("NotTerminating"), ending()));
        assert!(holds(scoped("BestEffort"), ending()) && !holds(scoped("BestEffort"), sized()));
        assert!(holds(scoped("NotBestEffort"), sized()));
        let class = |operator: &str, values: Value| {
            value!({"spec": {"scopeSelector": {"matchExpressions": [
                {"scopeName": "PriorityClass", "operator": operator, "values": values}]}}})
        };
        assert!(
            holds(class("In", value!(["high"])), sized()) && !holds(class("In", value!(["low"])), sized())
        );
        assert!(
            holds(class("DoesNotExist", value!([])), ending()) && holds(class("Exists", value!([])), sized())
        );
        assert!(!holds(scoped("Nonsense"), sized()));
    }
}
