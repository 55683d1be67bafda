//! Defaults of a schema are themselves valid, and have no unknown fields.

use crate::custom::{Patterns, RuleTree, ValueCheck, check_embedded, check_rules, check_value};
use mainstay_apiserver_machinery::structural::{Structural, prune};
use mainstay_apiserver_machinery::validation::{ErrorList, Path};

/// Checks every default at and below `schema`.
pub(super) fn check_defaults(schema: &Structural, path: &Path, errors: &mut ErrorList) {
    if !schema.has_defaults {
        return;
    }
    if let Some(default) = &schema.default {
        let at = path.child("default");
        let mut pruned = default.clone();
        if prune(&mut pruned, schema) {
            errors.invalid(&at, default.clone(), "must not have unknown fields");
        }
        // Patterns that do not compile are reported as violations of the structure.
        if let Ok(patterns) = Patterns::of(schema) {
            check_value(&ValueCheck { schema, patterns: &patterns }, default, &at, errors);
        }
        check_embedded(default, schema, &at, errors);
        if let Some(rules) = RuleTree::of(schema, false).filter(|_| errors.is_empty()) {
            check_rules(&rules, schema, default, None, (&at, errors));
        }
    }
    if let Some(items) = schema.items.as_deref() {
        check_defaults(items, &path.child("items"), errors);
    }
    for (name, property) in &schema.properties {
        check_defaults(property, &path.child("properties").key(name), errors);
    }
}
