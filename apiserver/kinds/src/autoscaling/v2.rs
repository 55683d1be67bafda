//! autoscaling/v2 HorizontalPodAutoscaler: the form that is stored.

use super::{behavior, metrics, targets};
use crate::formats::validate_segment;
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
        validate_spec(object, 1, errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        let was = old.path_i64(&["spec", "minReplicas"]);
        validate_spec(new, i64::from(was != Some(0)), errors);
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

fn validate_spec(object: &Value, fewest: i64, errors: &mut ErrorList) {
    let spec = At::root(object).get("spec");
    let (min, max) = (spec.get("minReplicas"), spec.get("maxReplicas"));
    let most = max.int().unwrap_or_default();
    if min.int().is_some_and(|min| min < fewest) {
        min.invalid(errors, &format!("must be greater than or equal to {fewest}"));
    }
    if most < 1 {
        errors.invalid(&max.path, most, "must be greater than 0");
    }
    if min.int().is_some_and(|min| most < min) {
        errors.invalid(&max.path, most, "must be greater than or equal to `minReplicas`");
    }
    validate_reference(&spec.get("scaleTargetRef"), errors);
    metrics::validate(&spec.get("metrics"), min.int() == Some(0), errors);
    behavior::validate(&spec.get("behavior"), errors);
}

/// Checks a reference to what is scaled or described.
pub(super) fn validate_reference(reference: &At<'_>, errors: &mut ErrorList) {
    for field in ["kind", "name"] {
        validate_segment(&reference.get(field), "", errors);
    }
}
