//! Checks of validation rules: they compile, give what they should, and cannot cost too much.

use super::field_path::valid_field_path;
use crate::custom::CompiledRule;
use mainstay_apiserver_cel::Shape;
use mainstay_apiserver_machinery::structural::{Additional, ListType, MapType, RuleText, Structural};
use mainstay_apiserver_machinery::validation::{ErrorList, Path};
use mainstay_apiserver_machinery::value;
use mainstay_apiserver_machinery::value::Value;
use std::sync::Arc;

/// What one rule may be estimated to cost, wherever its values occur.
const RULE_COST_MAX: u64 = 10_000_000;
/// What all rules of a schema may be estimated to cost.
const SCHEMA_COST_MAX: u64 = 100_000_000;
/// Rules told of when all together cost too much.
const EXPENSIVE_MAX: usize = 4;

const REASONS: [&str; 4] =
    ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];

/// Checks every rule at and below the root `schema`.
pub(super) fn check_rules(schema: &Structural, path: &Path, errors: &mut ErrorList) {
    if !schema.has_rules {
        return;
    }
    let mut checker = Checker { errors, total: 0, costs: Vec::new() };
    checker.schema(schema, true, &Place { path: path.clone(), occurs: Some(1), uncorrelated: None });
    let Checker { errors, total, mut costs } = checker;
    if total > SCHEMA_COST_MAX {
        costs.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
        for (_, path) in costs.iter().take(EXPENSIVE_MAX) {
            errors.forbidden(
                path,
                "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema",
            );
        }
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        errors.forbidden(path, &too_expensive(what, total, SCHEMA_COST_MAX));
    }
}

/// Where a schema stands.
#[derive(Clone)]
struct Place {
    path: Path,
    /// How often values of it can occur in one object; `None` where nothing bounds that.
    occurs: Option<u64>,
    /// The nearest place above where old and new values cannot be matched.
    uncorrelated: Option<Path>,
}

impl Place {
    /// Below a list or map of at most so many.
    fn repeated(&self, path: Path, max: Option<i64>, is_correlated: bool) -> Self {
        let max = max.and_then(|max| u64::try_from(max).ok());
        let occurs = self.occurs.zip(max).map(|(occurs, max)| occurs.saturating_mul(max));
        let uncorrelated = self.uncorrelated.clone().or_else(|| (!is_correlated).then(|| self.path.clone()));
        Self { path, occurs, uncorrelated }
    }
}

struct Checker<'e> {
    errors: &'e mut ErrorList,
    total: u64,
    costs: Vec<(u64, Path)>,
}

impl Checker<'_> {
    fn schema(&mut self, schema: &Structural, is_root: bool, place: &Place) {
        if !schema.has_rules {
            return;
        }
        for (name, property) in &schema.properties {
            let path = place.path.child("properties").key(name);
            let is_correlated = schema.map_type() == MapType::Granular;
            let uncorrelated =
                place.uncorrelated.clone().or_else(|| (!is_correlated).then(|| place.path.clone()));
            self.schema(property, false, &Place { path, uncorrelated, occurs: place.occurs });
        }
        if let Some(items) = schema.items.as_deref() {
            let is_correlated = schema.list_type() == ListType::Map;
            let below = place.repeated(place.path.child("items"), schema.checks.max_items, is_correlated);
            self.schema(items, false, &below);
        }
        if let Additional::Schema(all) = &schema.additional {
            let path = place.path.child("additionalProperties");
            self.schema(all, false, &place.repeated(path, schema.checks.max_properties, true));
        }
        if schema.rules.is_empty() {
            return;
        }
        let shape = Arc::new(Shape::of_schema(schema, is_root));
        for (at, rule) in schema.rules.iter().enumerate() {
            let path = place.path.child("x-kubernetes-validations").index(at);
            let before = self.errors.len();
            self.text(rule, schema, &path);
            if self.errors.len() == before {
                self.compiled(&CompiledRule::new(rule, schema, &shape), &shape, place, &path);
            }
        }
    }

    /// What can be said of a rule without compiling it.
    fn text(&mut self, rule: &RuleText, schema: &Structural, path: &Path) {
        let (text, message) = (rule.rule.trim(), rule.message.trim());
        let has_breaks = |text: &str| text.contains(['\n', '\r']);
        let errors = &mut *self.errors;
        if text.is_empty() {
            errors.required(&path.child("rule"), "rule is not specified");
        } else if !rule.message.is_empty() && message.is_empty() {
            errors.invalid(&path.child("message"), &rule.message, "must be non-empty if specified");
        } else if has_breaks(message) {
            errors.invalid(&path.child("message"), &rule.message, "must not contain line breaks");
        } else if has_breaks(text) && message.is_empty() {
            let detail = "message must be specified if rule contains line breaks";
            errors.required(&path.child("message"), detail);
        }
        if !rule.message_expression.is_empty() && rule.message_expression.trim().is_empty() {
            let detail = "messageExpression must be non-empty if specified";
            errors.required(&path.child("messageExpression"), detail);
        }
        if !rule.reason.is_empty() && !REASONS.contains(&rule.reason.as_str()) {
            errors.not_supported(&path.child("reason"), &rule.reason, &REASONS);
        }
        if !rule.field_path.is_empty() {
            let at = path.child("fieldPath");
            if rule.field_path.trim().is_empty() {
                errors.invalid(&at, &rule.field_path, "must be non-empty if specified");
            }
            if has_breaks(&rule.field_path) {
                errors.invalid(&at, &rule.field_path, "must not contain line breaks");
            }
            if valid_field_path(&rule.field_path, schema, true).is_err() {
                errors.invalid(&at, &rule.field_path, "must be a valid path");
            }
        }
    }

    fn compiled(&mut self, rule: &CompiledRule, shape: &Shape, place: &Place, path: &Path) {
        let at = path.child("rule");
        match &rule.program {
            Err(why) => self.errors.invalid(&at, shown(&rule.text), why),
            Ok(program) => {
                let occurs = place.occurs.unwrap_or_else(|| shape.occurrences_max());
                self.cost(program.cost_max().saturating_mul(occurs), "estimated rule cost", at.clone());
            }
        }
        match &rule.message {
            Some(Err(why)) => {
                self.errors.invalid(&path.child("messageExpression"), shown(&rule.text), why);
            }
            Some(Ok(program)) => {
                let at = path.child("messageExpression");
                self.cost(program.cost_max(), "estimated messageExpression cost", at);
            }
            None => {}
        }
        if rule.program.is_err() {
            return;
        }
        if rule.uses_old {
            if let Some(above) = &place.uncorrelated {
                let detail = format!(
                    "oldSelf cannot be used on the uncorrelatable portion of the schema within {above}"
                );
                self.errors.invalid(&at, &rule.text.rule, &detail);
            }
        } else if let Some(flag) = rule.text.optional_old_self {
            let detail = "may not be set if oldSelf is not used in rule";
            self.errors.invalid(&path.child("optionalOldSelf"), flag, detail);
        }
    }

    fn cost(&mut self, cost: u64, what: &str, path: Path) {
        if cost > RULE_COST_MAX {
            self.errors.forbidden(&path, &too_expensive(what, cost, RULE_COST_MAX));
        }
        self.total = self.total.saturating_add(cost);
        self.costs.push((cost, path));
    }
}

/// The rule as an error shows it.
fn shown(rule: &RuleText) -> Value {
    let mut out = value!({"rule": rule.rule.as_str()});
    for (name, text) in [
        ("message", &rule.message),
        ("messageExpression", &rule.message_expression),
        ("reason", &rule.reason),
        ("fieldPath", &rule.field_path),
    ] {
        if !text.is_empty() {
            out.set_path(&[name], text.as_str());
        }
    }
    out
}

fn too_expensive(what: &str, cost: u64, max: u64) -> String {
    let factor = cost as f64 / max as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and \
         maxLength where arrays, maps, and strings are declared)"
    )
}
