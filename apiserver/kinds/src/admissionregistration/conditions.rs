//! The check of match conditions: named expressions that must all be true.

use mainstay_apiserver_machinery::validation::{At, ErrorList, names};
use std::collections::HashSet;

const CONDITIONS_MAX: usize = 64;

pub(super) fn validate(conditions: &At<'_>, errors: &mut ErrorList) {
    if conditions.len() > CONDITIONS_MAX {
        errors.too_many(&conditions.path, conditions.len(), CONDITIONS_MAX);
    }
    let mut seen = HashSet::new();
    for condition in conditions.items() {
        let name = condition.get("name");
        validate_expression(&condition.get("expression"), errors);
        if name.require(errors, "") {
            name.invalid_each(errors, names::qualified_name(name.text()));
            if !seen.insert(name.text()) {
                errors.duplicate(&name.path, name.text());
            }
        }
    }
}

/// Checks that there is an expression.
pub(super) fn validate_expression(expression: &At<'_>, errors: &mut ErrorList) {
    if expression.text().trim().is_empty() {
        errors.required(&expression.path, "");
    }
}
