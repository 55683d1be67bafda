//! Conditions that a device waits for before, and is given up after, a pod is bound.

use super::list::within;
use mainstay_apiserver_machinery::validation::{At, ErrorList, names};
use std::collections::HashSet;

const CONDITIONS_MAX: usize = 4;

/// Checks the conditions of a device, or of one that was allocated.
pub(super) fn validate(device: &At<'_>, errors: &mut ErrorList) {
    let (wanted, failed) = (device.get("bindingConditions"), device.get("bindingFailureConditions"));
    for list in [&wanted, &failed] {
        for condition in within(list, CONDITIONS_MAX, errors) {
            condition.invalid_each(errors, names::qualified_name(condition.text()));
        }
    }
    let mut seen = HashSet::new();
    for condition in wanted.items() {
        if !seen.insert(condition.text()) {
            errors.duplicate(&condition.path, condition.text());
        }
    }
    let mut failures = HashSet::new();
    for condition in failed.items() {
        if !failures.insert(condition.text()) {
            errors.duplicate(&condition.path, condition.text());
        }
        if seen.contains(condition.text()) {
            condition.invalid(errors, "bindingFailureConditions must not overlap with bindingConditions");
        }
    }
    if wanted.is_empty() && !failed.is_empty() {
        wanted.invalid(errors, "bindingConditions are required to use bindingFailureConditions");
    }
    if failed.is_empty() && !wanted.is_empty() {
        failed.invalid(errors, "bindingFailureConditions are required to use bindingConditions");
    }
}
