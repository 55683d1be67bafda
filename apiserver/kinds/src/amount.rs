//! Checks of amounts: counts that may be percentages, and quantities.

use mainstay_apiserver_machinery::validation::{At, ErrorList, names};
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Quantity;

/// Checks a count or a percentage.
pub(crate) fn validate_int_or_percent(field: &At<'_>, errors: &mut ErrorList) {
    match field.value {
        Value::Str(text) => field.invalid_each(errors, names::percent(text)),
        Value::Int(_) => field.non_negative(errors),
        _ => field.invalid(errors, "must be an integer or percentage (e.g '5%%')"),
    }
}

/// Reports a percentage above 100.
pub(crate) fn validate_percent_bound(field: &At<'_>, errors: &mut ErrorList) {
    if field.text().ends_with('%') && int_or_percent(field).is_some_and(|percent| percent > 100) {
        field.invalid(errors, "must not be greater than 100%");
    }
}

/// The number of an amount, be it a count or a percentage.
pub(crate) fn int_or_percent(field: &At<'_>) -> Option<i64> {
    field.int().or_else(|| field.text().strip_suffix('%')?.parse().ok())
}

/// The quantity of a field; none when it is absent or malformed.
pub(crate) fn quantity(field: &At<'_>) -> Option<Quantity> {
    field.text().parse().ok()
}

/// Reports a quantity below zero.
pub(crate) fn validate_quantity(field: &At<'_>, errors: &mut ErrorList) {
    if quantity(field).is_some_and(|amount| amount.is_negative()) {
        field.invalid(errors, "must be greater than or equal to 0");
    }
}

/// Reports a quantity of zero or below.
pub(crate) fn validate_positive_quantity(field: &At<'_>, errors: &mut ErrorList) {
    if quantity(field).is_some_and(|amount| amount.is_negative() || amount.is_zero()) {
        field.invalid(errors, "must be greater than zero");
    }
}

/// Reports a quantity below zero, in the words of volumes.
pub(crate) fn validate_basic_quantity(field: &At<'_>, errors: &mut ErrorList) {
    if let Some(amount) = quantity(field).filter(Quantity::is_negative) {
        errors.invalid(&field.path, amount.value(), "must be a valid resource quantity");
    }
}
