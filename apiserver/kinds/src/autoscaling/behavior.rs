//! How fast an autoscaler may scale: defaults and checks of `spec.behavior`.

use crate::amount::validate_quantity;
use mainstay_apiserver_machinery::validation::{At, ErrorList};
use mainstay_apiserver_machinery::value;
use mainstay_apiserver_machinery::value::{Map, Value};

const WINDOW_SECONDS_MAX: i64 = 3600;
const PERIOD_SECONDS_MAX: i64 = 1800;

pub(super) fn default(behavior: &mut Map) {
    let up = behavior.get_or_insert_map("scaleUp");
    up.get_or_insert("stabilizationWindowSeconds", || 0.into());
    default_rules(
        up,
        value!([
            {"type": "Pods", "value": 4, "periodSeconds": 15},
            {"type": "Percent", "value": 100, "periodSeconds": 15},
        ]),
    );
    let down = behavior.get_or_insert_map("scaleDown");
    default_rules(down, value!([{"type": "Percent", "value": 100, "periodSeconds": 15}]));
}

fn default_rules(rules: &mut Map, policies: Value) {
    rules.get_or_insert("selectPolicy", || "Max".into());
    if rules.get("policies").is_none_or(Value::is_empty) {
        rules.insert("policies", policies);
    }
}

pub(super) fn validate(behavior: &At<'_>, errors: &mut ErrorList) {
    for direction in ["scaleUp", "scaleDown"] {
        let rules = behavior.get(direction);
        if rules.is_set() {
            validate_rules(&rules, errors);
        }
    }
}

fn validate_rules(rules: &At<'_>, errors: &mut ErrorList) {
    let window = rules.get("stabilizationWindowSeconds");
    if window.int().is_some_and(|seconds| seconds < 0) {
        window.invalid(errors, "must be greater than or equal to zero");
    }
    if window.int().is_some_and(|seconds| seconds > WINDOW_SECONDS_MAX) {
        window.invalid(errors, &format!("must be less than or equal to {WINDOW_SECONDS_MAX}"));
    }
    let select = rules.get("selectPolicy");
    if select.is_set() {
        select.one_of(errors, &["Disabled", "Max", "Min"]);
    }
    let policies = rules.get("policies");
    policies.require(errors, "must specify at least one Policy");
    for policy in policies.items() {
        policy.get("type").one_of(errors, &["Percent", "Pods"]);
        for field in ["value", "periodSeconds"] {
            let number = policy.get(field);
            let value = number.int().unwrap_or_default();
            if value <= 0 {
                errors.invalid(&number.path, value, "must be greater than zero");
            }
            if field == "periodSeconds" && value > PERIOD_SECONDS_MAX {
                number.invalid(errors, &format!("must be less than or equal to {PERIOD_SECONDS_MAX}"));
            }
        }
    }
    validate_quantity(&rules.get("tolerance"), errors);
}
