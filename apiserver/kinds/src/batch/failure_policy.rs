//! The check of what a job makes of failed pods.

use mainstay_apiserver_machinery::validation::{At, ErrorList, names};
use std::collections::HashSet;

const RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;
const CONDITIONS_MAX: usize = 20;
const ACTIONS: &[&str] = &["Count", "FailIndex", "FailJob", "Ignore"];
const OPERATORS: &[&str] = &["In", "NotIn"];
const STATUSES: &[&str] = &["False", "True", "Unknown"];

pub(super) fn validate(spec: &At<'_>, errors: &mut ErrorList) {
    let rules = spec.dig(&["podFailurePolicy", "rules"]);
    if rules.len() > RULES_MAX {
        errors.too_many(&rules.path, rules.len(), RULES_MAX);
    }
    let pod = spec.dig(&["template", "spec"]);
    let containers: HashSet<&str> = ["containers", "initContainers"]
        .iter()
        .flat_map(|list| pod.get(list).items())
        .map(|container| container.text_of("name"))
        .collect();
    for rule in rules.items() {
        let action = rule.get("action");
        choose(&action, ACTIONS, errors);
        if action.text() == "FailIndex" && !spec.has("backoffLimitPerIndex") {
            action.invalid(errors, "requires the backoffLimitPerIndex to be set");
        }
        let (codes, conditions) = (rule.get("onExitCodes"), rule.get("onPodConditions"));
        if codes.is_set() {
            validate_exit_codes(&codes, &containers, errors);
        }
        validate_conditions(&conditions, errors);
        // Upstream shows no value here; a null is the nearest.
        match (codes.is_set(), conditions.is_empty()) {
            (true, false) => errors.invalid_unshown(
                &rule.path,
                "specifying both OnExitCodes and OnPodConditions is not supported",
            ),
            (false, true) => errors
                .invalid_unshown(&rule.path, "specifying one of OnExitCodes and OnPodConditions is required"),
            _ => {}
        }
    }
}

/// Reports a field that is not one of `all`.
fn choose(field: &At<'_>, all: &[&str], errors: &mut ErrorList) {
    if field.is_empty() {
        let quoted: Vec<String> = all.iter().map(|one| format!("{one:?}")).collect();
        errors.required(&field.path, &format!("valid values: [{}]", quoted.join(" ")));
    } else {
        field.one_of(errors, all);
    }
}

fn validate_conditions(conditions: &At<'_>, errors: &mut ErrorList) {
    if conditions.len() > CONDITIONS_MAX {
        errors.too_many(&conditions.path, conditions.len(), CONDITIONS_MAX);
    }
    for condition in conditions.items() {
        let kind = condition.get("type");
        errors.invalid_each(&kind.path, kind.text(), names::qualified_name(kind.text()));
        choose(&condition.get("status"), STATUSES, errors);
    }
}

fn validate_exit_codes(codes: &At<'_>, containers: &HashSet<&str>, errors: &mut ErrorList) {
    let operator = codes.get("operator");
    choose(&operator, OPERATORS, errors);
    let container = codes.get("containerName");
    if container.is_set() && !containers.contains(container.text()) {
        container.invalid(errors, "must be one of the container or initContainer names in the pod template");
    }
    let values = codes.get("values");
    if values.is_empty() {
        values.invalid(errors, "at least one value is required");
    } else if values.len() > EXIT_CODES_MAX {
        errors.too_many(&values.path, values.len(), EXIT_CODES_MAX);
    }
    let (mut seen, mut previous, mut ordered) = (HashSet::new(), i64::MIN, true);
    for value in values.items() {
        let code = value.int().unwrap_or_default();
        if operator.text() == "In" && code == 0 {
            value.invalid(errors, "must not be 0 for the In operator");
        }
        if !seen.insert(code) {
            errors.duplicate(&value.path, code);
        }
        ordered &= previous <= code;
        previous = code;
    }
    if !ordered {
        values.invalid(errors, "must be ordered");
    }
}
