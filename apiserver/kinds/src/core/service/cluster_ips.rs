//! The cluster addresses of a service: one field and one list that say the same, and the families of the list.

use super::rules::{has_cluster_ip, is_headless};
use mainstay_apiserver_machinery::validation::{At, ErrorList, names};
use mainstay_apiserver_machinery::value::Value;
use std::collections::HashSet;
use std::net::IpAddr;

/// Makes `clusterIPs` follow `clusterIP` where a client knows only the older field. `old` is absent on a create.
pub(super) fn normalize(service: &mut Value, old: Option<&Value>) {
    let single = service.path_str(&["spec", "clusterIP"]).unwrap_or_default().to_owned();
    let list = service.path_list(&["spec", "clusterIPs"]).to_vec();
    let Some(old) = old else {
        if !single.is_empty() && list.is_empty() {
            service.set_path(&["spec", "clusterIPs"], vec![single]);
        }
        return;
    };
    let old_single = old.path_str(&["spec", "clusterIP"]).unwrap_or_default();
    let old_list = old.path_list(&["spec", "clusterIPs"]);
    if old_single != single && list == old_list {
        if single.is_empty() {
            service.remove_path(&["spec", "clusterIPs"]);
        } else {
            service.set_path(&["spec", "clusterIPs"], vec![single]);
        }
    }
}

fn family(ip: &str) -> Option<&'static str> {
    match ip.parse().ok()? {
        IpAddr::V4(_) => Some("IPv4"),
        IpAddr::V6(_) => Some("IPv6"),
    }
}

/// Sets policy and families of a service that got its addresses but not these.
pub(super) fn default_families(service: &mut Value) {
    let Some(spec) = service.get_mut("spec") else { return };
    if !has_cluster_ip(spec.path_str(&["type"]).unwrap_or_default()) {
        return;
    }
    if spec.path_list(&["ipFamilies"]).is_empty() {
        let mut families: Vec<&str> =
            spec.path_list(&["clusterIPs"]).iter().filter_map(Value::as_str).filter_map(family).collect();
        if families.is_empty() {
            families.push("IPv4");
        }
        spec.set_path(&["ipFamilies"], families);
    }
    if spec.get("ipFamilyPolicy").is_none_or(Value::is_empty) {
        let policy =
            if spec.path_list(&["ipFamilies"]).len() > 1 { "RequireDualStack" } else { "SingleStack" };
        spec.set_path(&["ipFamilyPolicy"], policy);
    }
}

/// Checks addresses, families and policy against each other.
pub(super) fn validate(spec: &At<'_>, errors: &mut ErrorList) {
    if spec.text_of("type") == "ExternalName" {
        return;
    }
    let (single, list) = (spec.get("clusterIP"), spec.get("clusterIPs"));
    let families = spec.get("ipFamilies");
    let has_invalid = validate_families(spec, &families, errors);
    let policy = spec.get("ipFamilyPolicy");
    if policy.is_set() {
        policy.one_of(errors, &["PreferDualStack", "RequireDualStack", "SingleStack"]);
    }
    let first = list.items().next();
    match &first {
        Some(_) if single.is_empty() => {
            list.invalid(errors, "must be empty when `clusterIP` is not specified");
        }
        Some(first) if first.text() != single.text() => {
            list.invalid(errors, "first value must match `clusterIP`");
        }
        None if !single.is_empty() => {
            errors.required(&list.path, "");
        }
        _ => {}
    }
    if list.len() > 2 {
        list.invalid(errors, "may only hold up to 2 values");
    }
    let mut headless = false;
    for (i, ip) in list.items().enumerate() {
        headless |= i == 0 && ip.text() == "None";
        if headless {
            if i > 0 {
                list.invalid(errors, "'None' must be the first and only value");
                return;
            }
            continue;
        }
        let faults = names::ip(ip.text());
        let wanted = families.items().nth(i).filter(|_| faults.is_empty() && !has_invalid);
        if let Some(wanted) = wanted.filter(|wanted| family(ip.text()) != Some(wanted.text())) {
            let text = format!("expected an {} value as indicated by `ipFamilies[{i}]`", wanted.text());
            ip.invalid(errors, &text);
        }
        ip.invalid_each(errors, faults);
    }
    let kinds: HashSet<_> = list.items().filter_map(|ip| family(ip.text())).collect();
    if list.len() == 2 && !headless && kinds.len() < 2 {
        list.invalid(errors, "may specify no more than one IP for each IP family");
    }
}

fn validate_families(spec: &At<'_>, families: &At<'_>, errors: &mut ErrorList) -> bool {
    let mut invalid = false;
    let mut seen = HashSet::new();
    if families.len() > 2 {
        families.invalid(errors, "may only hold up to 2 values");
    }
    for family in families.items() {
        if !["IPv4", "IPv6"].contains(&family.text()) {
            invalid = true;
            family.one_of(errors, &["IPv4", "IPv6"]);
        }
        if !seen.insert(family.text()) {
            errors.duplicate(&family.path, family.text());
        }
    }
    if families.len() == 2 && spec.text_of("ipFamilyPolicy") == "SingleStack" {
        errors.invalid(
            &spec.path.child("ipFamilyPolicy"),
            "SingleStack",
            "must be RequireDualStack or PreferDualStack when multiple `ipFamilies` are specified",
        );
    }
    invalid
}

/// The first address and the first family stay for life, but for changes from and to `ExternalName`; a second one
/// goes only when the policy says that one is enough.
pub(super) fn validate_update(new: &At<'_>, old: &At<'_>, errors: &mut ErrorList) {
    let external = |spec: &At<'_>| spec.text_of("type") == "ExternalName";
    if external(new) || external(old) {
        return;
    }
    let (now_headless, was_headless) = (is_headless(new.value), is_headless(old.value));
    if !(now_headless && was_headless) {
        validate_kept(new, old, "clusterIPs", "clusterIP", errors);
    }
    // Families may change with and without addresses of a service of its own.
    if !now_headless && !was_headless {
        validate_kept(new, old, "ipFamilies", "ipFamily", errors);
    }
}

fn validate_kept(new: &At<'_>, old: &At<'_>, field: &str, what: &str, errors: &mut ErrorList) {
    const CHANGED: &str = "may not change once set";
    let (list, before) = (new.get(field), old.get(field));
    let (now, was): (Vec<&str>, Vec<&str>) =
        (list.items().map(|one| one.text()).collect(), before.items().map(|one| one.text()).collect());
    let shown = |index: usize| list.path.index(index);
    if now.len() == was.len() {
        for (i, _) in now.iter().zip(&was).enumerate().filter(|(_, (now, was))| now != was) {
            // Upstream shows families always at the first.
            let i = if field == "ipFamilies" { 0 } else { i };
            errors.invalid(&shown(i), list.value.clone(), CHANGED);
        }
        return;
    }
    if let (Some(now), Some(was)) = (now.first(), was.first())
        && now != was
    {
        errors.invalid(&shown(0), list.value.clone(), CHANGED);
    }
    if now.len() > was.len() {
        return;
    }
    let released = if field == "clusterIPs" { now.is_empty() } else { new.get("clusterIPs").is_empty() };
    if released {
        errors.invalid(&shown(0), list.value.clone(), &format!("primary {what} can not be unset"));
    }
    let policy = new.get("ipFamilyPolicy");
    if now.len() == 1 && policy.text() != "SingleStack" {
        policy.invalid(errors, &format!("must be set to 'SingleStack' when releasing the secondary {what}"));
    }
}
