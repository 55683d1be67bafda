//! Checks of the resources of containers, and the quality of service that follows from them.

use crate::amount::quantity;
use crate::resource_names::is_standard;
use mainstay_apiserver_machinery::validation::{At, ErrorList, names};
use mainstay_apiserver_machinery::value::{Map, Value};
use mainstay_proto_api::Quantity;
use std::collections::{BTreeMap, HashSet};

/// Those that containers can ask for.
const OF_CONTAINERS: &[&str] = &["cpu", "memory", "ephemeral-storage"];
const HUGE: &str = "hugepages-";

type NameCheck = fn(&str, &At<'_>, &mut ErrorList);

/// Checks requests, limits and claims of a container.
pub(super) fn validate_container_resources(
    resources: &At<'_>,
    claims: &HashSet<&str>,
    errors: &mut ErrorList,
) {
    validate_requirements(resources, validate_container_resource_name, errors);
    validate_claims(&resources.get("claims"), claims, errors);
}

fn validate_requirements(resources: &At<'_>, check: NameCheck, errors: &mut ErrorList) {
    let (limits, requests) = (resources.get("limits"), resources.get("requests"));
    for (name, limit) in limits.entries() {
        check(name, &limit, errors);
        validate_amount(name, &limit, errors);
        validate_pages(name, &limit, errors);
    }
    for (name, request) in requests.entries() {
        check(name, &request, errors);
        validate_amount(name, &request, errors);
        validate_against_limit(name, &At::new(request.value, requests.path.clone()), &limits, errors);
        validate_pages(name, &request, errors);
    }
    let asked = |name: &str| limits.has(name) || requests.has(name);
    let huge = [&limits, &requests]
        .iter()
        .flat_map(|list| list.value.as_map().into_iter().flat_map(Map::keys))
        .any(|name| name.starts_with(HUGE));
    if huge && !asked("cpu") && !asked("memory") {
        errors.forbidden(&resources.path, "HugePages require cpu or memory");
    }
}

/// Checks the claims of a container: each request of a claim once, and of claims that the pod has.
fn validate_claims(list: &At<'_>, claims: &HashSet<&str>, errors: &mut ErrorList) {
    let mut seen: HashSet<(&str, &str)> = HashSet::new();
    for claim in list.items() {
        let (name, request) = (claim.text_of("name"), claim.get("request"));
        if name.is_empty() {
            errors.required(&claim.path, "");
            continue;
        }
        let whole = seen.contains(&(name, ""));
        if !whole && !request.is_empty() {
            request.invalid_each(errors, names::dns_label(request.text()));
        }
        let again = seen.contains(&(name, request.text()));
        if whole || (request.is_empty() && seen.iter().any(|(known, _)| *known == name)) {
            errors.duplicate(&claim.path, name);
        } else if again {
            errors.duplicate(&claim.path, format!("{name}/{}", request.text()));
        }
        seen.insert((name, request.text()));
        if !claims.contains(name) {
            let mut known: Vec<&str> = claims.iter().copied().filter(|name| !name.is_empty()).collect();
            known.sort_unstable();
            let which =
                if known.is_empty() { " which is empty".into() } else { format!(": {}", known.join(", ")) };
            let detail = format!("must be one of the names in pod.spec.resourceClaims{which}");
            errors.not_found_with(&claim.path, name, &detail);
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
        for field in ["resourceClaimName", "resourceClaimTemplateName"] {
            let field = claim.get(field);
            if field.is_set() {
                field.invalid_each(errors, names::dns_subdomain(field.text()));
            }
        }
    }
    let overhead = At::new(spec.get("overhead").value, spec.path.child("overhead").child("limits"));
    validate_limits(&overhead, errors);
    let own = spec.get("resources");
    if own.is_set() {
        validate_shared(spec, &own, errors);
    }
}

/// Checks the resources that a pod has for all of its containers.
fn validate_shared(spec: &At<'_>, own: &At<'_>, errors: &mut ErrorList) {
    if own.has("claims") {
        errors.forbidden(&own.path.child("claims"), "claims cannot be set for Resources at pod-level");
    }
    validate_requirements(own, validate_shared_name, errors);
    for (name, sum) in requested(spec) {
        let asked = own.dig(&["requests", name]);
        if !is_shared(name) || quantity(&asked).map_or_else(|| sum.is_zero(), |asked| sum <= asked) {
            continue;
        }
        let path = own.path.child("requests").key(name);
        let text = format!("must be greater than or equal to aggregate container requests of {}", sum.text());
        let shown = if asked.is_empty() { "0" } else { asked.text() };
        errors.invalid(&path, shown, &text);
    }
    let limits = own.get("limits");
    for (i, container) in spec.get("containers").items().enumerate() {
        for (name, limit) in container.dig(&["resources", "limits"]).entries() {
            let most = limits.get(name);
            if let (Some(value), Some(bound)) = (quantity(&limit), quantity(&most))
                && value > bound
            {
                let path = own.path.child("containers").index(i).key(name).child("limits");
                let text = format!("must be less than or equal to pod limits of {}", bound.text());
                errors.invalid(&path, limit.text(), &text);
            }
        }
    }
}

/// What the containers of a pod ask for together, at the time when they ask for most.
fn requested<'a>(spec: &At<'a>) -> BTreeMap<&'a str, Quantity> {
    let mut sums = BTreeMap::new();
    for container in spec.get("containers").items() {
        add_requests(&mut sums, &container);
    }
    // Sidecars stay beside what starts after them.
    let (mut sidecars, mut peak) = (BTreeMap::new(), BTreeMap::new());
    for container in spec.get("initContainers").items() {
        let mut now = sidecars.clone();
        add_requests(&mut now, &container);
        if container.text_of("restartPolicy") == "Always" {
            add_requests(&mut sums, &container);
            sidecars.clone_from(&now);
        }
        raise(&mut peak, now);
    }
    raise(&mut sums, peak);
    sums
}

fn add_requests<'a>(sums: &mut BTreeMap<&'a str, Quantity>, container: &At<'a>) {
    for (name, amount) in container.dig(&["resources", "requests"]).entries() {
        let Some(amount) = quantity(&amount) else { continue };
        sums.entry(name).and_modify(|sum| *sum = sum.plus(amount)).or_insert(amount);
    }
}

/// Takes what is more of each.
fn raise<'a>(sums: &mut BTreeMap<&'a str, Quantity>, others: BTreeMap<&'a str, Quantity>) {
    for (name, amount) in others {
        sums.entry(name).and_modify(|sum| *sum = amount.max(*sum)).or_insert(amount);
    }
}

fn is_shared(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with(HUGE)
}

fn validate_shared_name(name: &str, at: &At<'_>, errors: &mut ErrorList) {
    let before = errors.len();
    validate_resource_name(name, at, errors);
    if errors.len() == before && !is_shared(name) {
        errors.not_supported(&at.path, name, &["cpu", "memory"]);
    }
}

/// Checks amounts that bound what something takes, by name of resource; there are no requests beside them.
pub(crate) fn validate_limits(limits: &At<'_>, errors: &mut ErrorList) {
    for (name, limit) in limits.entries() {
        validate_container_resource_name(name, &limit, errors);
        validate_amount(name, &limit, errors);
        validate_pages(name, &limit, errors);
    }
}

/// Checks the name of any resource.
pub(crate) fn validate_resource_name(name: &str, at: &At<'_>, errors: &mut ErrorList) {
    let faults = names::qualified_name(name);
    let sound = faults.is_empty();
    errors.invalid_each(&at.path, name, faults);
    let standard = is_standard(name) || name.starts_with(HUGE) || name.starts_with("requests.hugepages-");
    if sound && !name.contains('/') && !standard {
        errors.invalid(&at.path, name, "must be a standard resource type or fully qualified");
    }
}

/// Checks the name of a resource that containers ask for.
pub(crate) fn validate_container_resource_name(name: &str, at: &At<'_>, errors: &mut ErrorList) {
    validate_resource_name(name, at, errors);
    if !name.contains('/') {
        if !OF_CONTAINERS.contains(&name) && !name.starts_with(HUGE) {
            errors.invalid(&at.path, name, "must be a standard resource for containers");
        }
    } else if !is_native(name) && !is_extended(name) {
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
    if is_extended(name) && !amount.is_whole() {
        at.invalid(errors, "must be an integer");
    }
}

/// Huge pages come whole.
fn validate_pages(name: &str, at: &At<'_>, errors: &mut ErrorList) {
    let Some(size) = name.strip_prefix(HUGE) else { return };
    let Some(amount) = quantity(at) else { return };
    let size = size.parse::<Quantity>().ok().filter(|size| size.value() > 0 && size.is_whole());
    if size.is_none_or(|size| amount.value() % size.value() != 0) {
        at.invalid(errors, &format!("{} is not positive integer multiple of {name}", amount.text()));
    }
}

/// Whether Kubernetes itself gives the resource its meaning.
fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Whether something else gives it its meaning, under a name that quotas can count.
fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && names::qualified_name(&format!("requests.{name}")).is_empty()
}

/// Whether more of it can be promised than there is.
fn is_overcommitable(name: &str) -> bool {
    is_native(name) && !name.starts_with(HUGE)
}

fn validate_against_limit(name: &str, request: &At<'_>, limits: &At<'_>, errors: &mut ErrorList) {
    let Some(asked) = quantity(request) else { return };
    let limit = limits.get(name);
    if !limit.is_set() {
        if !is_overcommitable(name) {
            errors.required(&limits.path, "Limit must be set for non overcommitable resources");
        }
        return;
    }
    let Some(limit) = quantity(&limit) else { return };
    if !is_overcommitable(name) && asked != limit {
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
