//! How much of a device's capacity a claim may ask for: one of several amounts, or a range with steps.

use super::list::within;
use crate::amount::quantity;
use mainstay_apiserver_machinery::validation::{At, ErrorList};
use mainstay_proto_api::Quantity;
use std::collections::HashSet;

const OPTIONS_MAX: usize = 10;

/// Checks the policy of a capacity.
pub(super) fn validate(capacity: &At<'_>, errors: &mut ErrorList) {
    let policy = capacity.get("requestPolicy");
    let (values, range) = (policy.get("validValues"), policy.get("validRange"));
    if !values.is_empty() && range.is_set() {
        let text = "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time";
        errors.forbidden(&policy.path, text);
        return;
    }
    if values.is_empty() && !range.is_set() {
        return;
    }
    let (fallback, value) = (policy.get("default"), capacity.get("value"));
    let Some(usual) = quantity(&fallback) else {
        let named = if values.is_empty() { "validRange" } else { "validValues" };
        return errors.required(&fallback.path, &format!("required when {named} is defined"));
    };
    let max = quantity(&value).unwrap_or_default();
    let bounds = Bounds { max, max_text: value.text(), usual, usual_text: fallback.text() };
    if values.is_empty() {
        validate_range(&range, &bounds, errors);
    } else {
        validate_values(&values, &bounds, errors);
    }
}

/// The whole capacity, and what a claim gets that says nothing.
struct Bounds<'a> {
    max: Quantity,
    max_text: &'a str,
    usual: Quantity,
    usual_text: &'a str,
}

fn validate_values(values: &At<'_>, bounds: &Bounds<'_>, errors: &mut ErrorList) {
    let amounts: Vec<(At<'_>, Quantity)> =
        values.items().filter_map(|value| quantity(&value).map(|amount| (value, amount))).collect();
    for pair in amounts.windows(2) {
        if let [(_, before), (value, amount)] = pair
            && before > amount
        {
            value.invalid(errors, "values must be sorted in ascending order");
        }
    }
    let fits = !within(values, OPTIONS_MAX, errors).is_empty();
    let listed = || amounts.iter().filter(|_| fits);
    for (value, _) in listed().filter(|(_, amount)| *amount > bounds.max) {
        value.invalid(errors, &format!("option is larger than capacity value: {}", bounds.max_text));
    }
    let mut seen = HashSet::new();
    for (value, amount) in listed() {
        if !seen.insert(amount.value()) {
            errors.duplicate(&value.path, amount.value().to_string());
        }
    }
    if !listed().any(|(_, amount)| *amount == bounds.usual) {
        let text = "default value is not valid according to the requestPolicy";
        errors.invalid(&values.path, bounds.usual_text, text);
    }
}

fn validate_range(range: &At<'_>, bounds: &Bounds<'_>, errors: &mut ErrorList) {
    let [least, most, step] = ["min", "max", "step"].map(|field| range.get(field));
    let Some(min) = quantity(&least) else {
        return errors.required(&least.path, "required when validRange is defined");
    };
    if min > bounds.max {
        least.invalid(errors, &format!("min is larger than capacity value: {}", bounds.max_text));
    }
    if bounds.usual < min {
        errors.invalid(
            &least.path,
            bounds.usual_text,
            &format!("default is less than min: {}", least.text()),
        );
    }
    if let Some(max) = quantity(&most) {
        if min > max {
            errors.invalid(&most.path, least.text(), &format!("min is larger than max: {}", most.text()));
        }
        if max > bounds.max {
            most.invalid(errors, &format!("max is larger than capacity value: {}", bounds.max_text));
        }
        if bounds.usual > max {
            errors.invalid(
                &most.path,
                bounds.usual_text,
                &format!("default is more than max: {}", most.text()),
            );
        }
    }
    let Some(size) = quantity(&step).map(|size| size.value()) else { return };
    let first = min.value().saturating_add(size);
    if first > bounds.max.value() {
        let text = format!("one step {first} is larger than capacity value: {}", bounds.max_text);
        step.invalid(errors, &text);
    }
    for (amount, text) in [(Some(bounds.usual), bounds.usual_text), (quantity(&most), most.text())] {
        let above = amount.map(|amount| amount.value().saturating_sub(min.value()));
        if above.is_some_and(|above| above.checked_rem(size) != Some(0)) {
            let why =
                format!("value is not a multiple of a given step ({}) from ({})", step.text(), least.text());
            errors.invalid(&step.path, text, &why);
        }
    }
}
