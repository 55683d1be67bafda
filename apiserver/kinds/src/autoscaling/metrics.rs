//! The check of what an autoscaler measures.

use super::reference::{Group, validate_reference, version_fault};
use crate::amount::quantity;
use crate::formats::validate_segment;
use crate::pod_spec::validate_container_resource_name;
use mainstay_apiserver_machinery::validation::{At, ErrorList, names};
use mainstay_apiserver_machinery::value::Value;

const TYPES: &[&str] = &["ContainerResource", "External", "Object", "Pods", "Resource"];
/// Each type with the field that describes it, in the order in which upstream looks at them.
const SOURCES: &[(&str, &str)] = &[
    ("Object", "object"),
    ("External", "external"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
];

/// Checks the metrics of an autoscaler; `old` are those that are stored.
pub(super) fn validate(metrics: &At<'_>, old: Option<&Value>, to_zero: bool, errors: &mut ErrorList) {
    let group = group_of_objects(old);
    for metric in metrics.items() {
        validate_metric(&metric, group, errors);
    }
    if to_zero && !metrics.items().any(|metric| matches!(metric.text_of("type"), "Object" | "External")) {
        let text = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.forbidden(&metrics.path, text);
    }
}

/// How the versions of described objects are checked: not at all where one that is stored is wrong.
fn group_of_objects(old: Option<&Value>) -> Group {
    let old = old.and_then(Value::as_list).unwrap_or_default();
    let mut objects = old.iter().filter(|metric| metric.path_str(&["type"]) == Some("Object"));
    let wrong = objects.any(|metric| {
        let version = metric.path_str(&["object", "describedObject", "apiVersion"]).unwrap_or_default();
        version_fault(version, Group::Optional).is_some()
    });
    if wrong { Group::Unchecked } else { Group::Optional }
}

fn validate_metric(metric: &At<'_>, group: Group, errors: &mut ErrorList) {
    let kind = metric.get("type");
    if kind.is_empty() {
        errors.required(&kind.path, "must specify a metric source type");
    }
    kind.one_of(errors, TYPES);
    let present: Vec<At<'_>> =
        SOURCES.iter().map(|(_, field)| metric.get(field)).filter(At::is_set).collect();
    if let Some((_, field)) = SOURCES.iter().find(|(_, field)| metric.has(field)) {
        validate_source(field, &metric.get(field), group, errors);
    }
    let expected = SOURCES.iter().find(|(name, _)| *name == kind.text()).map(|(_, field)| metric.get(field));
    match &expected {
        Some(expected) if !expected.is_set() => {
            errors.required(&expected.path, "must populate information for the given metric source");
        }
        Some(_) => {}
        // Upstream says so once more.
        None => kind.one_of(errors, TYPES),
    }
    if present.len() != 1 {
        let expected = expected.map(|expected| expected.path);
        for other in present.iter().filter(|source| Some(&source.path) != expected.as_ref()) {
            errors.forbidden(&other.path, "must populate the given metric source only");
        }
    }
}

fn validate_source(field: &str, source: &At<'_>, group: Group, errors: &mut ErrorList) {
    let target = source.get("target");
    match field {
        "object" => {
            validate_reference(&source.get("describedObject"), group, errors);
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
            if !average.is_set() {
                errors.required(&average.path, "must specify a positive target averageValue");
            }
        }
        _ => {
            let (name, container) = (source.get("name"), source.get("container"));
            let named = name.require(errors, "must specify a resource name");
            if field == "containerResource" {
                if named {
                    validate_container_resource_name(name.text(), &name, errors);
                }
                if container.require(errors, "must specify a container") {
                    container.invalid_each(errors, names::dns_label(container.text()));
                }
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
