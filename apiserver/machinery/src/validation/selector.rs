//! The check of a LabelSelector.

use super::names::{label_value, qualified_name};
use super::{ErrorList, Path, validate_labels};
use crate::value::Value;

/// Checks `matchLabels` and `matchExpressions` of a LabelSelector. `strict_values` also checks the values of
/// expressions, as kinds do that never stored invalid ones.
pub fn validate_label_selector(selector: &Value, strict_values: bool, path: &Path, errors: &mut ErrorList) {
    validate_labels(selector.get("matchLabels").and_then(Value::as_map), &path.child("matchLabels"), errors);
    for (i, requirement) in selector.path_list(&["matchExpressions"]).iter().enumerate() {
        validate_requirement(requirement, strict_values, &path.child("matchExpressions").index(i), errors);
    }
}

fn validate_requirement(requirement: &Value, strict_values: bool, path: &Path, errors: &mut ErrorList) {
    let values = requirement.path_list(&["values"]);
    let operator = requirement.path_str(&["operator"]).unwrap_or_default();
    match operator {
        "In" | "NotIn" if values.is_empty() => {
            errors.required(&path.child("values"), "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            errors.forbidden(
                &path.child("values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            );
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => errors.invalid(&path.child("operator"), other, "not a valid selector operator"),
    }
    let key = requirement.path_str(&["key"]).unwrap_or_default();
    errors.invalid_each(&path.child("key"), key, qualified_name(key));
    if strict_values {
        for (i, value) in values.iter().filter_map(Value::as_str).enumerate() {
            errors.invalid_each(&path.child("values").index(i), value, label_value(value));
        }
    }
}
