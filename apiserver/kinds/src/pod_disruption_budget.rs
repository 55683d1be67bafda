//! policy/v1 PodDisruptionBudget.

use crate::amount::{validate_int_or_percent, validate_percent_bound};
use crate::formats::validate_conditions;
use crate::shape::{Body, STORED};
use crate::table;
use mainstay_apiserver_machinery::kind::{Column, Kind, Rules, Storage};
use mainstay_apiserver_machinery::validation::{At, ErrorList, validate_label_selector};
use mainstay_apiserver_machinery::value::Value;
use time::OffsetDateTime;

/// policy/v1 PodDisruptionBudget.
pub static POD_DISRUPTION_BUDGET: Kind = Kind {
    group: "policy",
    kind: "PodDisruptionBudget",
    plural: "poddisruptionbudgets",
    singular: "poddisruptionbudget",
    short_names: &["pdb"],
    type_name: "policy/v1.PodDisruptionBudget",
    list_kind: "PodDisruptionBudgetList",
    subresources: &[Body {
        group: "policy",
        version: "v1",
        kind: "PodDisruptionBudget",
        type_name: "policy/v1.PodDisruptionBudget",
    }
    .status()],
    rules: &PodDisruptionBudget,
    storage: Some(Storage::new("poddisruptionbudgets")),
    ..STORED
};

struct PodDisruptionBudget;

impl Rules for PodDisruptionBudget {
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let spec = At::root(object).get("spec");
        let amounts = ["minAvailable", "maxUnavailable"].map(|field| spec.get(field));
        if amounts.iter().all(At::is_set) {
            spec.invalid(errors, "minAvailable and maxUnavailable cannot be both set");
        }
        for amount in amounts.iter().filter(|amount| amount.is_set()) {
            validate_int_or_percent(amount, errors);
            validate_percent_bound(amount, errors);
        }
        let selector = spec.get("selector");
        validate_label_selector(selector.value, true, &selector.path, errors);
        let policy = spec.get("unhealthyPodEvictionPolicy");
        if policy.is_set() {
            policy.one_of(errors, &["AlwaysAllow", "IfHealthyBudget"]);
        }
    }

    fn validate_status(&self, new: &Value, _old: &Value, errors: &mut ErrorList) {
        let status = At::root(new).get("status");
        validate_conditions(&status.get("conditions"), errors);
        for field in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
            status.get(field).non_negative(errors);
        }
    }

    fn tracks_generation(&self) -> bool {
        true
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::object_name(),
            Column::new("Min Available", "Pods that must stay."),
            Column::new("Max Unavailable", "Pods that may be missing."),
            Column::new("Allowed Disruptions", "Pods that may be evicted now.").of_type("integer"),
            table::AGE,
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        let amount = |field: &str| match object.path(&["spec", field]) {
            Some(Value::Int(count)) => count.to_string(),
            Some(Value::Str(text)) => text.to_string(),
            _ => String::from("N/A"),
        };
        vec![
            table::name(object),
            amount("minAvailable").into(),
            amount("maxUnavailable").into(),
            table::number(object, &["status", "disruptionsAllowed"]),
            table::age(object, now),
        ]
    }
}
