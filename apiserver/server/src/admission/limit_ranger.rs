//! `LimitRanger`: containers get the default amounts of their namespace's LimitRanges, and pods, containers and claims
//! outside their bounds are refused, in upstream's words.

use mainstay_apiserver_kinds::{LIMIT_RANGE, PERSISTENT_VOLUME_CLAIM, POD};
use mainstay_apiserver_machinery::object::MetaMut;
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::{Quantity, Status};

use super::pod_amounts::{Amounts, Side, amounts, of_containers};
use super::step::{Step, Work, refuse};
use crate::registry::Registry;
use crate::types::{AdmissionRequest, Operation};

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

/// The step.
pub struct LimitRanger {
    registry: Registry,
}

impl LimitRanger {
    /// The step over the cluster's LimitRanges.
    pub fn new(registry: Registry) -> Self {
        Self { registry }
    }

    /// The limits that hold in the request's namespace, in the order of their ranges' names. A range that was written
    /// before the request counts.
    async fn limits(&self, request: &AdmissionRequest) -> Result<Vec<Value>, Status> {
        let snapshot = self.registry.snapshot_fresh(&LIMIT_RANGE).await?;
        let mut limits = Vec::new();
        for cached in snapshot.namespace(&request.namespace) {
            let range = self.registry.decode_served(&LIMIT_RANGE, cached)?;
            limits.extend_from_slice(range.path_list(&["spec", "limits"]));
        }
        Ok(limits)
    }
}

/// Whether the request is one whose amounts are bounded: containers do not change once they are there, but by a resize.
fn is_bounded(request: &AdmissionRequest) -> bool {
    let deleting =
        request.old.as_ref().is_some_and(|old| old.path(&["metadata", "deletionTimestamp"]).is_some());
    if deleting || !matches!(request.operation, Operation::Create | Operation::Update) {
        return false;
    }
    let update = request.operation == Operation::Update;
    if *request.kind == POD {
        return (request.subresource.is_empty() && !update) || (request.subresource == "resize" && update);
    }
    *request.kind == PERSISTENT_VOLUME_CLAIM && request.subresource.is_empty()
}

/// Gives each container the amounts that it leaves out, and notes that in an annotation.
fn fill(pod: &mut Value, limits: &[Value]) {
    let mut defaults = [(Side::Requests, Amounts::new()), (Side::Limits, Amounts::new())];
    for limit in limits.iter().filter(|limit| limit.path_str(&["type"]) == Some("Container")) {
        for (side, into) in &mut defaults {
            let field = if *side == Side::Requests { "defaultRequest" } else { "default" };
            // The first range wins, as it has filled the gap before the next is looked at.
            for (name, amount) in amounts(limit, &[field]) {
                into.entry(name).or_insert(amount);
            }
        }
    }
    let mut notes = Vec::new();
    for (list, called) in [("containers", "container"), ("initContainers", "init container")] {
        let containers = pod.path_mut(&["spec", list]).and_then(Value::as_list_mut);
        for container in containers.into_iter().flatten() {
            for (side, defaults) in &defaults {
                let held = amounts(container, &["resources", side.field()]);
                let missing: Vec<_> = defaults.iter().filter(|(name, _)| !held.contains_key(*name)).collect();
                if missing.is_empty() {
                    continue;
                }
                let names: Vec<&str> = missing.iter().map(|(name, _)| name.as_str()).collect();
                for (name, amount) in &missing {
                    container.set_path(&["resources", side.field(), name], amount.text());
                }
                let name = container.path_str(&["name"]).unwrap_or_default();
                let what = if *side == Side::Requests { "request" } else { "limit" };
                notes.push(format!("{} {what} for {called} {name}", names.join(", ")));
            }
        }
    }
    if !notes.is_empty() {
        let text = format!("LimitRanger plugin set: {}", notes.join("; "));
        MetaMut(pod).set_annotation(ANNOTATION, &text);
    }
}

/// One thing that is bounded: what it asks for and may take.
struct Bounded {
    requests: Amounts,
    limits: Amounts,
}

impl Bounded {
    fn container(container: &Value) -> Self {
        Self {
            requests: amounts(container, &["resources", "requests"]),
            limits: amounts(container, &["resources", "limits"]),
        }
    }

    fn check(&self, limit: &Value, kind: &str, faults: &mut Vec<String>) {
        for (name, bound) in amounts(limit, &["min"]) {
            faults.extend(self.at_least(&name, bound, kind));
        }
        for (name, bound) in amounts(limit, &["max"]) {
            faults.extend(self.at_most(&name, bound, kind));
        }
        for (name, bound) in amounts(limit, &["maxLimitRequestRatio"]) {
            faults.extend(self.in_ratio(&name, bound, kind));
        }
    }

    fn at_least(&self, name: &str, bound: Quantity, kind: &str) -> Option<String> {
        let told = format!("minimum {name} usage per {kind} is {bound}");
        match (self.requests.get(name), self.limits.get(name)) {
            (None, _) => Some(format!("{told}.  No request is specified")),
            (Some(request), _) if *request < bound => Some(format!("{told}, but request is {request}")),
            (_, Some(limit)) if *limit < bound => Some(format!("{told}, but limit is {limit}")),
            _ => None,
        }
    }

    fn at_most(&self, name: &str, bound: Quantity, kind: &str) -> Option<String> {
        let told = format!("maximum {name} usage per {kind} is {bound}");
        match (self.requests.get(name), self.limits.get(name)) {
            (_, None) => Some(format!("{told}.  No limit is specified")),
            (_, Some(limit)) if *limit > bound => Some(format!("{told}, but limit is {limit}")),
            (Some(request), _) if *request > bound => Some(format!("{told}, but request is {request}")),
            _ => None,
        }
    }

    fn in_ratio(&self, name: &str, bound: Quantity, kind: &str) -> Option<String> {
        let told = format!("{name} max limit to request ratio per {kind} is {bound}");
        let Some(request) = self.requests.get(name).filter(|amount| !amount.is_zero()) else {
            return Some(format!("{told}, but no request is specified or request is 0"));
        };
        let Some(limit) = self.limits.get(name).filter(|amount| !amount.is_zero()) else {
            return Some(format!("{told}, but no limit is specified or limit is 0"));
        };
        let ratio = limit.as_f64() / request.as_f64();
        (ratio > bound.as_f64()).then(|| format!("{told}, but provided ratio is {ratio:.6}"))
    }
}

fn faults_of_pod(pod: &Value, limit: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    let Some(spec) = pod.get("spec") else { return faults };
    match limit.path_str(&["type"]).unwrap_or_default() {
        "Container" => {
            for container in ["containers", "initContainers"].iter().flat_map(|list| spec.path_list(&[list]))
            {
                Bounded::container(container).check(limit, "Container", &mut faults);
            }
        }
        "Pod" => {
            let whole = Bounded {
                requests: of_containers(spec, Side::Requests),
                limits: of_containers(spec, Side::Limits),
            };
            whole.check(limit, "Pod", &mut faults);
        }
        _ => {}
    }
    faults
}

fn faults_of_claim(claim: &Value, limit: &Value) -> Vec<String> {
    const KIND: &str = "PersistentVolumeClaim";
    let mut faults = Vec::new();
    if limit.path_str(&["type"]) != Some(KIND) {
        return faults;
    }
    let requests = amounts(claim, &["spec", "resources", "requests"]);
    let claim = Bounded { requests, limits: Amounts::new() };
    for (name, bound) in amounts(limit, &["min"]) {
        faults.extend(claim.at_least(&name, bound, KIND));
    }
    for (name, bound) in amounts(limit, &["max"]) {
        let told = format!("maximum {name} usage per {KIND} is {bound}");
        match claim.requests.get(&name) {
            None => faults.push(format!("{told}.  No request is specified")),
            Some(request) if *request > bound => faults.push(format!("{told}, but request is {request}")),
            Some(_) => {}
        }
    }
    faults
}

/// Several faults as upstream joins them.
fn joined(mut faults: Vec<String>) -> String {
    let mut seen = std::collections::BTreeSet::new();
    faults.retain(|fault| seen.insert(fault.clone()));
    match faults.as_slice() {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

fn check(request: &AdmissionRequest, limits: &[Value]) -> Result<(), Status> {
    for limit in limits {
        let faults = if *request.kind == POD {
            faults_of_pod(&request.object, limit)
        } else {
            faults_of_claim(&request.object, limit)
        };
        if !faults.is_empty() {
            return Err(refuse(request, joined(faults)));
        }
    }
    Ok(())
}

impl Step for LimitRanger {
    fn mutate<'a>(&'a self, request: &'a mut AdmissionRequest) -> Work<'a, Result<(), Status>> {
        if *request.kind != POD || !is_bounded(request) {
            return None;
        }
        Some(Box::pin(async move {
            let limits = self.limits(request).await?;
            fill(&mut request.object, &limits);
            Ok(())
        }))
    }

    fn validate<'a>(&'a self, request: &'a AdmissionRequest) -> Work<'a, Result<(), Status>> {
        if !is_bounded(request) {
            return None;
        }
        Some(Box::pin(async move { check(request, &self.limits(request).await?) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_apiserver_machinery::value;

    #[test]
    fn containers_get_the_defaults_they_leave_out() {
        let mut pod = value!({"spec": {"containers": [
            {"name": "a", "resources": {"requests": {"cpu": "1"}}},
            {"name": "b"},
        ]}});
        let limit = value!({"type": "Container", "default": {"memory": "2Gi"}, "defaultRequest": {"cpu": "100m", "memory": "1Gi"}});
        fill(&mut pod, &[limit]);
        let container = |at: usize| pod.path_list(&["spec", "containers"])[at].clone();
        assert_eq!(container(0).path_str(&["resources", "requests", "cpu"]), Some("1"));
        assert_eq!(container(1).path_str(&["resources", "requests", "cpu"]), Some("100m"));
        assert_eq!(container(1).path_str(&["resources", "limits", "memory"]), Some("2Gi"));
        assert_eq!(
            pod.path_str(&["metadata", "annotations", ANNOTATION]),
            Some(
                "LimitRanger plugin set: memory request for container a; memory limit for container a; cpu, memory request for container b; memory limit for container b"
            )
        );
    }

    #[test]
    fn bounds_are_told_as_upstream_does() {
        let pod = value!({"spec": {"containers": [{"name": "a", "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "8"}}}]}});
        let told = |limit: Value| joined(faults_of_pod(&pod, &limit));
        assert_eq!(
            told(value!({"type": "Container", "max": {"cpu": "1"}})),
            "maximum cpu usage per Container is 1, but limit is 8"
        );
        assert_eq!(
            told(value!({"type": "Pod", "min": {"cpu": "3", "memory": "1Mi"}})),
            "[minimum cpu usage per Pod is 3, but request is 2, minimum memory usage per Pod is 1Mi.  No request is specified]"
        );
        assert_eq!(
            told(value!({"type": "Container", "maxLimitRequestRatio": {"cpu": "3"}})),
            "cpu max limit to request ratio per Container is 3, but provided ratio is 4.000000"
        );
        let claim = value!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
        let limit = value!({"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}});
        assert_eq!(
            joined(faults_of_claim(&claim, &limit)),
            "maximum storage usage per PersistentVolumeClaim is 1Gi, but request is 2Gi"
        );
    }
}
