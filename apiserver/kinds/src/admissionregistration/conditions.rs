//! The check of match conditions: named expressions that must all be true.

use super::expressions::{AdmissionNames, Expressions};
use mainstay_apiserver_cel::Type;
use mainstay_apiserver_machinery::validation::{At, ErrorList, names};
use std::collections::HashSet;

const CONDITIONS_MAX: usize = 64;

/// Checks match conditions, which may use `params` where the object has any.
pub(super) fn validate(conditions: &At<'_>, has_params: bool, errors: &mut ErrorList) {
    if conditions.is_empty() {
        return;
    }
    if conditions.len() > CONDITIONS_MAX {
        errors.too_many(&conditions.path, conditions.len(), CONDITIONS_MAX);
    }
    let names = AdmissionNames { params: has_params, authorizer: true, variables: false };
    let expressions = Expressions::new(names);
    let mut seen = HashSet::new();
    for condition in conditions.items() {
        let name = condition.get("name");
        expressions.check(&condition.get("expression"), &[Type::Bool], errors);
        if name.require(errors, "") {
            name.invalid_each(errors, names::qualified_name(name.text()));
            if !seen.insert(name.text()) {
                errors.duplicate(&name.path, name.text());
            }
        }
    }
}
