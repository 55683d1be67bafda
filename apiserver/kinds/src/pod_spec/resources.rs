//! Checks of the resources of containers, and the quality of service that follows from them.

use mainstay_apiserver_machinery::validation::{At, ErrorList, names};
use mainstay_apiserver_machinery::value::{Map, Value};
use mainstay_proto_api::Quantity;
use std::collections::{BTreeMap, HashSet};

const NATIVE: &[&str] = &["cpu", "memory", "ephemeral-storage"];

/// Checks requests, limits and claims of a container.
pub(super) fn validate_container_resources(
    resources: &At<'_>,
    claims: &HashSet<&str>,
    errors: &mut ErrorList,
) {
    let (limits, requests) = (resources.get("limits"), resources.get("requests"));
    for (name, limit) in limits.entries() {
        validate_name(name, &limit, errors);
        validate_amount(name, &limit, errors);
    }
    for (name, request) in requests.entries() {
        validate_name(name, &request, errors);
        validate_amount(name, &request, errors);
        let limit = limits.value.path_str(&[name]);
        validate_against_limit(name, &request, limit, errors);
    }
    let asked = |name: &str| limits.has(name) || requests.has(name);
    let huge = [&limits, &requests]
        .iter()
        .flat_map(|list| list.value.as_map().into_iter().flat_map(Map::keys))
        .any(|name| name.starts_with("hugepages-"));
    if huge && !asked("cpu") && !asked("memory") {
        errors.forbidden(&resources.path, "HugePages require cpu or memory");
    }
    let mut seen = HashSet::new();
    for claim in resources.get("claims").items() {
        let name = claim.get("name");
        if name.require(errors, "") {
            if !seen.insert((name.text(), claim.text_of("request"))) {
                errors.duplicate(&claim.path, name.text());
            }
            if !claims.contains(name.text()) {
                errors.not_found(&name.path, name.text());
            }
        }
    }
}

/// Checks what a pod as a whole asks for: its claims, its overhead, and resources that its containers share.
pub(super) fn validate_pod_resources(spec: &At<'_>, errors: &mut ErrorList) {
    let mut claims = HashSet::new();
    for claim in spec.get("resourceClaims").items() {
        let name = claim.get("name");
        if name.require(errors, "") {
            if claims.insert(name.text()) {
                name.invalid_each(errors, names::dns_label(name.text()));
            } else {
                errors.duplicate(&name.path, name.text());
            }
        }
        match (claim.has("resourceClaimName"), claim.has("resourceClaimTemplateName")) {
            (true, true) => claim.invalid(
                errors,
                "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
            ),
            (false, false) => {
                claim
                    .invalid(errors, "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`");
            }
            _ => {}
        }
    }
    for (name, amount) in spec.get("overhead").entries() {
        let at = At::new(amount.value, spec.path.child("overhead").child("limits").key(name));
        validate_name(name, &at, errors);
        validate_amount(name, &at, errors);
    }
    let own = spec.get("resources");
    if own.has("claims") {
        errors.forbidden(&own.path.child("claims"), "claims cannot be set for Resources at pod-level");
    } else if own.is_set() {
        validate_container_resources(&own, &HashSet::new(), errors);
    }
}

/// Checks amounts that bound what something takes, by name of resource; there are no requests beside them.
pub(crate) fn validate_limits(limits: &At<'_>, errors: &mut ErrorList) {
    for (name, limit) in limits.entries() {
        validate_name(name, &limit, errors);
        validate_amount(name, &limit, errors);
    }
}

/// Checks the name of a resource that containers ask for.
pub(crate) fn validate_container_resource_name(name: &str, at: &At<'_>, errors: &mut ErrorList) {
    validate_name(name, at, errors);
}

fn validate_name(name: &str, at: &At<'_>, errors: &mut ErrorList) {
    let faults = names::qualified_name(name);
    let sound = faults.is_empty();
    errors.invalid_each(&at.path, name, faults);
    if !sound {
        return;
    }
    if !name.contains('/') {
        if !NATIVE.contains(&name) && !name.starts_with("hugepages-") {
            errors.invalid(&at.path, name, "must be a standard resource type or fully qualified");
            errors.invalid(&at.path, name, "must be a standard resource for containers");
        }
    } else if name.starts_with("requests.") {
        errors.invalid(&at.path, name, "doesn't follow extended resource name standard");
    }
}

fn validate_amount(name: &str, at: &At<'_>, errors: &mut ErrorList) {
    let Ok(amount) = at.text().parse::<Quantity>() else {
        let text =
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
        at.invalid(errors, text);
        return;
    };
    if amount.is_negative() {
        at.invalid(errors, "must be greater than or equal to 0");
    }
    if is_whole(name) && !amount.is_whole() {
        at.invalid(errors, "must be an integer");
    }
}

/// Extended resources and huge pages come in whole numbers.
fn is_whole(name: &str) -> bool {
    name.starts_with("hugepages-") || (name.contains('/') && !name.starts_with("kubernetes.io/"))
}

fn validate_against_limit(name: &str, request: &At<'_>, limit: Option<&str>, errors: &mut ErrorList) {
    let Ok(asked) = request.text().parse::<Quantity>() else { return };
    let Some(limit) = limit else {
        if is_whole(name) {
            errors.required(&request.path, "Limit must be set for non overcommitable resources");
        }
        return;
    };
    let Ok(limit) = limit.parse::<Quantity>() else { return };
    if is_whole(name) && asked != limit {
        request.invalid(errors, &format!("must be equal to {name} limit of {}", limit.text()));
    } else if asked > limit {
        request.invalid(errors, &format!("must be less than or equal to {name} limit of {}", limit.text()));
    }
}

/// The quality of service class of a pod: `Guaranteed`, `Burstable` or `BestEffort`.
pub(crate) fn qos_class(spec: &Value) -> &'static str {
    let mut requests = BTreeMap::new();
    let mut limits = BTreeMap::new();
    let mut all_limited = true;
    for list in ["containers", "initContainers"] {
        for container in spec.path_list(&[list]) {
            add(&mut requests, container.path_map(&["resources", "requests"]));
            let own = container.path_map(&["resources", "limits"]);
            add(&mut limits, own);
            let limited = |name| {
                own.and_then(|limits| limits.get(name))
                    .and_then(Value::as_str)
                    .is_some_and(|text| !is_zero(text))
            };
            all_limited &= limited("cpu") && limited("memory");
        }
    }
    if requests.is_empty() && limits.is_empty() {
        return "BestEffort";
    }
    let equal =
        requests.len() == limits.len() && requests.iter().all(|(name, sum)| limits.get(name) == Some(sum));
    if all_limited && equal { "Guaranteed" } else { "Burstable" }
}

fn is_zero(text: &str) -> bool {
    text.parse::<Quantity>().is_ok_and(|quantity| quantity.is_zero())
}

/// Adds cpu and memory; zeros do not count.
fn add<'a>(sums: &mut BTreeMap<&'a str, i128>, resources: Option<&'a Map>) {
    for (name, amount) in resources.into_iter().flatten() {
        let Some(Ok(amount)) = amount.as_str().map(str::parse::<Quantity>) else { continue };
        if matches!(name.as_str(), "cpu" | "memory") && amount.nanos() > 0 {
            let sum = sums.entry(name.as_str()).or_default();
            *sum = sum.saturating_add(amount.nanos());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_apiserver_machinery::value;

    fn class(resources: Value) -> &'static str {
        qos_class(&value!({"containers": [{"resources": (resources)}]}))
    }

    #[test]
    fn the_class_follows_from_requests_and_limits() {
        assert_eq!(class(value!({})), "BestEffort");
        assert_eq!(class(value!({"requests": {"cpu": "0"}})), "BestEffort");
        assert_eq!(class(value!({"requests": {"cpu": "1"}})), "Burstable");
        let both = value!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1000m", "memory": "1024Mi"}});
        assert_eq!(class(both), "Guaranteed");
        let cpu_only = value!({"requests": {"cpu": "1"}, "limits": {"cpu": "1"}});
        assert_eq!(class(cpu_only), "Burstable");
    }
}
