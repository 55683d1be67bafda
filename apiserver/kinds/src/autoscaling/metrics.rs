//! The check of what an autoscaler measures.

use super::v2::validate_reference;
use crate::amount::quantity;
use crate::formats::validate_segment;
use mainstay_apiserver_machinery::validation::{At, ErrorList};

const TYPES: &[&str] = &["ContainerResource", "External", "Object", "Pods", "Resource"];
/// Each type with the field that describes it, in the order in which upstream looks at them.
const SOURCES: &[(&str, &str)] = &[
    ("Object", "object"),
    ("External", "external"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
];

pub(super) fn validate(metrics: &At<'_>, to_zero: bool, errors: &mut ErrorList) {
    for metric in metrics.items() {
        validate_metric(&metric, errors);
    }
    if to_zero && !metrics.items().any(|metric| matches!(metric.text_of("type"), "Object" | "External")) {
        let text = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.forbidden(&metrics.path, text);
    }
}

fn validate_metric(metric: &At<'_>, errors: &mut ErrorList) {
    let kind = metric.get("type");
    if kind.is_empty() {
        errors.required(&kind.path, "must specify a metric source type");
    }
    kind.one_of(errors, TYPES);
    let present: Vec<At<'_>> =
        SOURCES.iter().map(|(_, field)| metric.get(field)).filter(At::is_set).collect();
    if let Some((_, field)) = SOURCES.iter().find(|(_, field)| metric.has(field)) {
        validate_source(field, &metric.get(field), errors);
    }
    let expected = SOURCES.iter().find(|(name, _)| *name == kind.text()).map(|(_, field)| metric.get(field));
    if let Some(expected) = expected.as_ref().filter(|expected| !expected.is_set()) {
        errors.required(&expected.path, "must populate information for the given metric source");
    }
    if present.len() != 1 {
        let expected = expected.map(|expected| expected.path);
        for other in present.iter().filter(|source| Some(&source.path) != expected.as_ref()) {
            errors.forbidden(&other.path, "must populate the given metric source only");
        }
    }
}

fn validate_source(field: &str, source: &At<'_>, errors: &mut ErrorList) {
    let target = source.get("target");
    match field {
        "object" => {
            validate_reference(&source.get("describedObject"), errors);
            validate_identifier(source, errors);
            validate_target(&target, errors);
            require_value(&target, "must set either a target value or averageValue", errors);
        }
        "external" => {
            validate_identifier(source, errors);
            validate_target(&target, errors);
            require_value(&target, "must set either a target value for metric or a per-pod target", errors);
            let value = target.get("value");
            if value.is_set() && target.has("averageValue") {
                let text = "may not set both a target value for metric and a per-pod target";
                errors.forbidden(&value.path, text);
            }
        }
        "pods" => {
            validate_identifier(source, errors);
            validate_target(&target, errors);
            let average = target.get("averageValue");
            if !is_positive(&average) {
                errors.required(&average.path, "must specify a positive target averageValue");
            }
        }
        _ => {
            source.get("name").require(errors, "must specify a resource name");
            if field == "containerResource" {
                source.get("container").require(errors, "must specify a container");
            }
            validate_target(&target, errors);
            validate_resource_target(&target, errors);
        }
    }
}

fn require_value(target: &At<'_>, text: &str, errors: &mut ErrorList) {
    let average = target.get("averageValue");
    if !target.has("value") && !average.is_set() {
        errors.required(&average.path, text);
    }
}

fn validate_resource_target(target: &At<'_>, errors: &mut ErrorList) {
    let (utilization, average) = (target.get("averageUtilization"), target.get("averageValue"));
    match (utilization.is_set(), average.is_set()) {
        (false, false) => {
            let text = "must set either a target raw value or a target utilization";
            errors.required(&utilization.path, text);
        }
        (true, true) => {
            errors.forbidden(&average.path, "may not set both a target raw value and a target utilization");
        }
        _ => {}
    }
}

fn validate_identifier(source: &At<'_>, errors: &mut ErrorList) {
    validate_segment(&source.dig(&["metric", "name"]), "must specify a metric name", errors);
}

fn is_positive(field: &At<'_>) -> bool {
    quantity(field).is_some_and(|amount| !amount.is_negative() && !amount.is_zero())
}

fn validate_target(target: &At<'_>, errors: &mut ErrorList) {
    let kind = target.get("type");
    if kind.is_empty() {
        errors.required(&kind.path, "must specify a metric target type");
    }
    if !matches!(kind.text(), "Utilization" | "Value" | "AverageValue") {
        errors.invalid(&kind.path, kind.text(), "must be either Utilization, Value, or AverageValue");
    }
    for field in ["value", "averageValue"] {
        let amount = target.get(field);
        if amount.is_set() && !is_positive(&amount) {
            amount.invalid(errors, "must be positive");
        }
    }
    let utilization = target.get("averageUtilization");
    if utilization.int().is_some_and(|percent| percent < 1) {
        utilization.invalid(errors, "must be greater than 0");
    }
}
