//! autoscaling/v2 HorizontalPodAutoscaler: the form that is stored.

use super::reference::{Group, validate_reference};
use super::{behavior, metrics, targets};
use crate::shape::{Body, STORED};
use crate::table;
use mainstay_apiserver_machinery::kind::{Column, Kind, Rules, Storage};
use mainstay_apiserver_machinery::validation::{At, ErrorList};
use mainstay_apiserver_machinery::value;
use mainstay_apiserver_machinery::value::Value;
use time::OffsetDateTime;

/// autoscaling/v2 HorizontalPodAutoscaler.
pub static HORIZONTAL_POD_AUTOSCALER: Kind = Kind {
    group: "autoscaling",
    version: "v2",
    kind: "HorizontalPodAutoscaler",
    plural: "horizontalpodautoscalers",
    singular: "horizontalpodautoscaler",
    short_names: &["hpa"],
    categories: &["all"],
    type_name: "autoscaling/v2.HorizontalPodAutoscaler",
    list_kind: "HorizontalPodAutoscalerList",
    subresources: &[Body {
        group: "autoscaling",
        version: "v2",
        kind: "HorizontalPodAutoscaler",
        type_name: "autoscaling/v2.HorizontalPodAutoscaler",
    }
    .status()],
    rules: &HorizontalPodAutoscaler,
    storage: Some(Storage::new("horizontalpodautoscalers")),
    ..STORED
};

struct HorizontalPodAutoscaler;

/// What is measured when nothing else is asked for: cpu, at 80 percent of what pods request.
pub(super) fn default_metrics() -> Value {
    value!([{
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
    }])
}

impl Rules for HorizontalPodAutoscaler {
    fn default(&self, object: &mut Value) {
        let spec = object.make_map().get_or_insert_map("spec");
        if spec.get("metrics").is_none_or(Value::is_empty) {
            spec.insert("metrics", default_metrics());
        }
        if let Some(wanted) = spec.get_mut("behavior").and_then(Value::as_map_mut) {
            behavior::default(wanted);
        }
    }

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        validate_spec(object, None, errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        validate_spec(new, Some(old), errors);
    }

    fn validate_status(&self, new: &Value, _old: &Value, errors: &mut ErrorList) {
        let status = At::root(new).get("status");
        for field in ["currentReplicas", "desiredReplicas"] {
            status.get(field).non_negative(errors);
        }
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::object_name(),
            Column::new("Reference", "What is scaled."),
            Column::new("Targets", "What is measured, of what is wanted."),
            Column::new("MinPods", "The fewest pods."),
            Column::new("MaxPods", "The most pods."),
            Column::new("Replicas", "Pods that there are."),
            table::AGE,
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        let text = |field: &str| object.path_str(&["spec", "scaleTargetRef", field]).unwrap_or_default();
        let fewest = object.path_i64(&["spec", "minReplicas"]);
        vec![
            table::name(object),
            format!("{}/{}", text("kind"), text("name")).into(),
            targets::text(object).into(),
            fewest.map_or_else(|| String::from("<unset>"), |fewest| fewest.to_string()).into(),
            table::number(object, &["spec", "maxReplicas"]),
            table::number(object, &["status", "currentReplicas"]),
            table::age(object, now),
        ]
    }
}

fn validate_spec(object: &Value, old: Option<&Value>, errors: &mut ErrorList) {
    let spec = At::root(object).get("spec");
    let (min, max) = (spec.get("minReplicas"), spec.get("maxReplicas"));
    let most = max.int().unwrap_or_default();
    // None at all is upstream's default since 1.37 (`HPAScaleToZero`).
    min.non_negative(errors);
    if most < 1 {
        errors.invalid(&max.path, most, "must be greater than 0");
    }
    if min.int().is_some_and(|min| most < min) {
        errors.invalid(&max.path, most, "must be greater than or equal to `minReplicas`");
    }
    let target = spec.get("scaleTargetRef");
    validate_reference(&target, group_of_target(&target, old), errors);
    let measured = old.and_then(|old| old.path(&["spec", "metrics"]));
    metrics::validate(&spec.get("metrics"), measured, min.int() == Some(0), errors);
    behavior::validate(&spec.get("behavior"), errors);
}

/// How the version of what is scaled is checked: not where an update leaves it, and the core group has but one kind that
/// can be scaled.
fn group_of_target(target: &At<'_>, old: Option<&Value>) -> Group {
    let before = old.and_then(|old| old.path(&["spec", "scaleTargetRef"]));
    let same = |field: &str| before.and_then(|old| old.get(field)) == target.value.get(field);
    if before.is_some() && same("apiVersion") && same("kind") {
        Group::Unchecked
    } else if target.text_of("kind") == "ReplicationController" {
        Group::Optional
    } else {
        Group::Required
    }
}
