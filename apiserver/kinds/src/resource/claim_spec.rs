//! The check of what a claim asks for, which templates of claims hold as well, and of what claims share with classes.

use super::list::{validate_full_attribute_name, validate_label, validate_raw, validate_unique_by, within};
use super::selector;
use crate::core::volume::validate_driver_name;
use mainstay_apiserver_machinery::validation::{At, ErrorList, names};
use mainstay_apiserver_machinery::value::Value;
use std::collections::{HashMap, HashSet};

const ITEMS_MAX: usize = 32;
const ALTERNATIVES_MAX: usize = 8;
const PARAMETERS_BYTES_MAX: usize = 10 * 1024;
const REFERENCE: &str =
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";

/// Names of requests, each with those of its alternatives.
pub(super) type Requests<'a> = HashMap<&'a str, HashSet<&'a str>>;

/// The requests of a claim.
pub(super) fn requests<'a>(devices: &At<'a>) -> Requests<'a> {
    let named = |request: At<'a>| {
        let parts = request.get("firstAvailable").items().map(|part| part.text_of("name")).collect();
        (request.text_of("name"), parts)
    };
    devices.get("requests").items().map(named).collect()
}

pub(super) fn validate(spec: &At<'_>, errors: &mut ErrorList) {
    let devices = spec.get("devices");
    let known = requests(&devices);
    let list = within(&devices.get("requests"), ITEMS_MAX, errors);
    for request in &list {
        validate_request(request, errors);
    }
    validate_unique_by(&list, |request| request.text_of("name").to_owned(), errors);
    for constraint in within(&devices.get("constraints"), ITEMS_MAX, errors) {
        validate_references(&constraint.get("requests"), &known, errors);
        let (same, distinct) = (constraint.get("matchAttribute"), constraint.get("distinctAttribute"));
        if same.is_set() {
            validate_full_attribute_name(&same, errors);
        } else if distinct.is_set() {
            validate_full_attribute_name(&distinct, errors);
        } else {
            errors.required(
                &constraint.path,
                "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set",
            );
        }
    }
    for entry in within(&devices.get("config"), ITEMS_MAX, errors) {
        validate_references(&entry.get("requests"), &known, errors);
        validate_configuration(&entry, errors);
    }
}

fn validate_request(request: &At<'_>, errors: &mut ErrorList) {
    validate_label(&request.get("name"), errors);
    let (exactly, first) = (request.get("exactly"), request.get("firstAvailable"));
    match (exactly.is_set(), !first.is_empty()) {
        (false, false) => {
            errors.required(&request.path, "exactly one of `exactly` or `firstAvailable` is required");
        }
        (true, true) => errors.invalid(
            &request.path,
            Value::Null,
            "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set",
        ),
        (true, false) => validate_wanted(&exactly, errors),
        (false, true) => {
            let parts = within(&first, ALTERNATIVES_MAX, errors);
            for part in &parts {
                validate_label(&part.get("name"), errors);
                validate_wanted(part, errors);
            }
            validate_unique_by(&parts, |part| part.text_of("name").to_owned(), errors);
        }
    }
}

fn validate_wanted(wanted: &At<'_>, errors: &mut ErrorList) {
    let class = wanted.get("deviceClassName");
    if class.require(errors, "") {
        class.invalid_each(errors, names::dns_subdomain(class.text()));
    }
    selector::validate(&wanted.get("selectors"), errors);
    let (mode, count) = (wanted.get("allocationMode"), wanted.get("count"));
    let number = count.int().unwrap_or_default();
    match mode.text() {
        "All" if number != 0 => {
            count.invalid(errors, "must not be specified when allocationMode is 'All'");
        }
        "ExactCount" if number <= 0 => {
            errors.invalid(&count.path, number, "must be greater than zero");
        }
        "All" | "ExactCount" => {}
        other => errors.not_supported(&mode.path, other, &["All", "ExactCount"]),
    }
    for toleration in wanted.get("tolerations").items() {
        validate_toleration(&toleration, errors);
    }
}

fn validate_toleration(toleration: &At<'_>, errors: &mut ErrorList) {
    let (key, operator) = (toleration.get("key"), toleration.get("operator"));
    if !key.is_empty() {
        key.invalid_each(errors, names::qualified_name(key.text()));
    }
    let value = toleration.get("value");
    match operator.text() {
        "Exists" if !value.is_empty() => {
            value.invalid(errors, "must be empty for operator `Exists`");
        }
        "Exists" => {}
        "Equal" => value.invalid_each(errors, names::label_value(value.text())),
        "" => errors.required(&operator.path, ""),
        other => errors.not_supported(&operator.path, other, &["Equal", "Exists"]),
    }
    let effect = toleration.get("effect");
    if !effect.is_empty() {
        effect.one_of(errors, &["NoExecute", "NoSchedule", "None"]);
    }
}

/// Checks settings for a driver.
pub(super) fn validate_configuration(entry: &At<'_>, errors: &mut ErrorList) {
    let opaque = entry.get("opaque");
    if !opaque.is_set() {
        errors.required(&opaque.path, "");
        return;
    }
    validate_driver_name(&opaque.get("driver"), errors);
    validate_raw(&opaque.get("parameters"), PARAMETERS_BYTES_MAX, errors);
}

/// Checks a list of names of requests.
pub(super) fn validate_references(list: &At<'_>, known: &Requests<'_>, errors: &mut ErrorList) {
    let list = within(list, ITEMS_MAX, errors);
    for name in &list {
        validate_reference(name, known, errors);
    }
    validate_unique_by(&list, |name| name.text().to_owned(), errors);
}

/// Checks the name of a request, or of a request and its alternative.
pub(super) fn validate_reference(name: &At<'_>, known: &Requests<'_>, errors: &mut ErrorList) {
    let parts: Vec<&str> = name.text().split('/').collect();
    if parts.len() > 2 {
        name.invalid(errors, REFERENCE);
        return;
    }
    for part in &parts {
        errors.invalid_each(&name.path, part, names::dns_label(part));
    }
    let found = match parts.as_slice() {
        [request] => known.contains_key(request),
        [request, part] => known.get(request).is_some_and(|parts| parts.contains(part)),
        _ => false,
    };
    if !found {
        errors.invalid(&name.path, name.text(), REFERENCE);
    }
}
