//! The check of one device of a slice.

use super::list::{validate_attribute_name, validate_label, validate_unique_by, within};
use super::taint::validate_taint;
use super::{bindings, request_policy};
use crate::pod_spec::validate_node_selector;
use mainstay_apiserver_machinery::validation::{At, ErrorList, names};
use mainstay_apiserver_machinery::value::Value;

const ATTRIBUTES_MAX: usize = 32;
const TAINTS_MAX: usize = 16;
const COUNTERS_MAX: usize = 32;
const CONSUMPTIONS_MAX: usize = 2;
const VALUE_BYTES_MAX: usize = 64;
const PER_DEVICE: &str = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when \
                          `perDeviceNodeSelection` is set to true in the ResourceSlice spec";

pub(super) fn validate(device: &At<'_>, per_device: bool, errors: &mut ErrorList) {
    validate_label(&device.get("name"), errors);
    let (attributes, capacity) = (device.get("attributes"), device.get("capacity"));
    let total = attributes.len() + capacity.len();
    if total > ATTRIBUTES_MAX {
        let text = format!("the total number of attributes and capacities must not exceed {ATTRIBUTES_MAX}");
        errors.invalid(&device.path, i64::try_from(total).unwrap_or(i64::MAX), &text);
    }
    for (name, attribute) in attributes.entries() {
        validate_attribute_name(name, &attribute.path, errors);
        validate_attribute(&attribute, errors);
    }
    for (name, amount) in capacity.entries() {
        validate_attribute_name(name, &amount.path, errors);
        let policy = amount.get("requestPolicy");
        if policy.is_set() && !device.get("allowMultipleAllocations").flag() {
            errors.forbidden(&policy.path, "allowMultipleAllocations must be true");
        } else if policy.is_set() {
            request_policy::validate(&amount, errors);
        }
    }
    for taint in within(&device.get("taints"), TAINTS_MAX, errors) {
        validate_taint(&taint, errors);
    }
    let consumed = within(&device.get("consumesCounters"), CONSUMPTIONS_MAX, errors);
    for consumption in &consumed {
        let set = consumption.get("counterSet");
        if set.require(errors, "") {
            validate_label(&set, errors);
        }
        validate_counters(&consumption.get("counters"), errors);
    }
    validate_unique_by(&consumed, |one| one.text_of("counterSet").to_owned(), errors);
    validate_nodes(device, per_device, errors);
    bindings::validate(device, errors);
}

/// Checks counters by name.
pub(super) fn validate_counters(counters: &At<'_>, errors: &mut ErrorList) {
    if counters.is_empty() {
        errors.required(&counters.path, "");
    }
    if counters.len() > COUNTERS_MAX {
        return errors.too_many(&counters.path, counters.len(), COUNTERS_MAX);
    }
    for (name, counter) in counters.entries() {
        errors.invalid_each(&counter.path, name, names::dns_label(name));
    }
}

fn validate_attribute(attribute: &At<'_>, errors: &mut ErrorList) {
    const VALUES: &[&str] = &["bool", "int", "string", "version", "bools", "ints", "strings", "versions"];
    for field in ["string", "version"] {
        let value = attribute.get(field);
        if field == "version" && value.is_set() && !is_semver(value.text()) {
            value.invalid(errors, "must be a string compatible with semver.org spec 2.0.0");
        }
        if value.text().len() > VALUE_BYTES_MAX {
            errors.too_long(&value.path, VALUE_BYTES_MAX);
        }
    }
    match VALUES.iter().filter(|field| attribute.has(field)).count() {
        0 => errors.invalid(&attribute.path, "", "exactly one value must be specified"),
        1 => {}
        _ => attribute.invalid(errors, "exactly one value must be specified"),
    }
}

/// Whether a text is a version after semver.org 2.0.0.
fn is_semver(text: &str) -> bool {
    let number = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_digit())
            && (part == "0" || !part.starts_with('0'))
    };
    let word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let (text, build) = match text.split_once('+') {
        Some((text, build)) => (text, Some(build)),
        None => (text, None),
    };
    let (core, pre) = match text.split_once('-') {
        Some((core, pre)) => (core, Some(pre)),
        None => (text, None),
    };
    let numeric = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    core.split('.').count() == 3
        && core.split('.').all(number)
        && pre.is_none_or(|pre| pre.split('.').all(|part| word(part) && (!numeric(part) || number(part))))
        && build.is_none_or(|build| build.split('.').all(word))
}

fn validate_nodes(device: &At<'_>, per_device: bool, errors: &mut ErrorList) {
    let (name, selector, all) = (device.get("nodeName"), device.get("nodeSelector"), device.get("allNodes"));
    if !per_device {
        if name.is_set() || selector.is_set() || all.is_set() {
            errors.invalid(
                &device.path,
                Value::Null,
                "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true \
                 in the ResourceSlice spec",
            );
        }
        return;
    }
    let mut set = Vec::new();
    if name.is_set() {
        if name.is_empty() {
            name.invalid(errors, "must not be empty");
        } else {
            set.push("`nodeName`");
            name.invalid_each(errors, names::dns_subdomain(name.text()));
        }
    }
    if selector.is_set() {
        set.push("`nodeSelector`");
        validate_node_selector(&selector, errors);
    }
    if all.is_set() {
        if all.flag() {
            set.push("`allNodes`");
        } else {
            all.invalid(errors, "must be either unset or set to true");
        }
    }
    match set.len() {
        0 => errors.required(&device.path, PER_DEVICE),
        1 => {}
        _ => errors.invalid(&device.path, format!("{{{}}}", set.join(", ")), PER_DEVICE),
    }
}

#[cfg(test)]
mod tests {
    use super::is_semver;

    #[test]
    fn versions_are_semantic() {
        for sound in ["1.2.3", "0.0.0-alpha.1+build.5", "1.0.0--x"] {
            assert!(is_semver(sound), "{sound}");
        }
        for bad in ["1.2", "01.2.3", "1.2.3-", "1.2.3-01", "v1.2.3", ""] {
            assert!(!is_semver(bad), "{bad}");
        }
    }
}
