//! Checks of strings and small structs that several kinds share: addresses, references, conditions.

use mainstay_apiserver_machinery::validation::{At, ErrorList, names};
use std::collections::HashSet;

const CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
/// Bytes of a condition's reason and message.
const REASON_BYTES_MAX: usize = 1024;
const MESSAGE_BYTES_MAX: usize = 32 * 1024;

/// What is wrong with a range of addresses: `10.0.0.0/8`, without bits beyond the prefix.
pub(crate) fn cidr(text: &str) -> Vec<String> {
    match text.parse::<ipnet::IpNet>() {
        Err(_) => vec![String::from(CIDR)],
        Ok(net) if net.trunc() != net => {
            vec![String::from("must not have bits set beyond the prefix length")]
        }
        Ok(_) => Vec::new(),
    }
}

/// As [`cidr`], and in canonical form.
pub(crate) fn cidr_canonical(text: &str) -> Vec<String> {
    let faults = cidr(text);
    match text.parse::<ipnet::IpNet>() {
        Ok(net) if faults.is_empty() && net.to_string() != text => {
            vec![format!("must be in canonical form (\"{net}\")")]
        }
        _ => faults,
    }
}

/// Checks a path behind a domain: `example.com/path`.
pub(crate) fn validate_domain_prefixed_path(field: &At<'_>, errors: &mut ErrorList) {
    if !field.require(errors, "") {
        return;
    }
    match field.text().split_once('/') {
        Some((host, path)) if !host.is_empty() && !path.is_empty() => {
            errors.invalid_each(&field.path, host, names::dns_subdomain(host));
            errors.invalid_each(&field.path, path, names::http_path(path));
        }
        _ => field.invalid(errors, "must be a domain-prefixed path (such as \"acme.io/foo\")"),
    }
}

/// Checks that a field is there and is one segment of a path; `detail` says so when it is missing.
pub(crate) fn validate_segment(field: &At<'_>, detail: &str, errors: &mut ErrorList) {
    if field.require(errors, detail) {
        field.invalid_each(errors, names::path_segment(field.text()));
    }
}

/// Checks a reference to an object by group, kind and name, in the words of ingresses.
pub(crate) fn validate_typed_reference(reference: &At<'_>, errors: &mut ErrorList) {
    let group = reference.get("apiGroup");
    if group.is_set() {
        group.invalid_each(errors, names::dns_subdomain(group.text()));
    }
    validate_segment(&reference.get("kind"), "kind is required", errors);
    validate_segment(&reference.get("name"), "name is required", errors);
}

/// Checks a list of meta/v1 conditions.
pub(crate) fn validate_conditions(conditions: &At<'_>, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for condition in conditions.items() {
        let kind = condition.get("type");
        if !seen.insert(kind.text()) {
            errors.duplicate(&kind.path, kind.text());
        }
        errors.invalid_each(&kind.path, kind.text(), names::qualified_name(kind.text()));
        condition.get("status").one_of(errors, &["False", "True", "Unknown"]);
        let generation = condition.get("observedGeneration");
        if generation.int().is_some_and(|value| value < 0) {
            generation.invalid(errors, "must be greater than or equal to zero");
        }
        condition.get("lastTransitionTime").require(errors, "must be set");
        let reason = condition.get("reason");
        if reason.require(errors, "must be set") {
            reason.invalid_each(errors, names::condition_reason(reason.text()));
            validate_length(&reason, REASON_BYTES_MAX, errors);
        }
        validate_length(&condition.get("message"), MESSAGE_BYTES_MAX, errors);
    }
}

/// Reports a string of more than `max` bytes.
pub(crate) fn validate_length(field: &At<'_>, max: usize, errors: &mut ErrorList) {
    if field.text().len() > max {
        errors.too_long(&field.path, max);
    }
}

/// Reports values of a list that occur before in it.
pub(crate) fn validate_unique(list: &At<'_>, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for item in list.items() {
        if !seen.insert(item.text()) {
            errors.duplicate(&item.path, item.text());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_have_no_bits_beyond_their_prefix() {
        assert!(cidr("10.0.0.0/8").is_empty() && cidr("2001:db8::/64").is_empty());
        assert_eq!(cidr("10.0.0.1/8"), ["must not have bits set beyond the prefix length"]);
        assert_eq!(cidr("10.0.0.0"), [CIDR]);
        assert_eq!(cidr_canonical("2001:db8:0::/64"), ["must be in canonical form (\"2001:db8::/64\")"]);
    }
}
