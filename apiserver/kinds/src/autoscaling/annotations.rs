//! Between autoscaling/v1 and v2. What v1 has no field for goes into four annotations, as upstream does, so that a
//! client of v1 loses nothing of what a client of v2 wrote.

use super::legacy_metrics::{self, Side};
use super::v2::default_metrics;
use mainstay_apiserver_machinery::json::{self, Strictness};
use mainstay_apiserver_machinery::object::{Meta, MetaMut};
use mainstay_apiserver_machinery::value;
use mainstay_apiserver_machinery::value::{Map, Value};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const TARGET: &str = "targetCPUUtilizationPercentage";
const CURRENT: &str = "currentCPUUtilizationPercentage";

/// The JSON in an annotation; none when it is absent or malformed, which upstream passes over as well.
fn annotation(object: &Value, name: &str) -> Option<Value> {
    let text = Meta(object).annotation(name)?;
    Some(json::decode(text.as_bytes(), None, Strictness::Ignore).ok()?.value)
}

fn list(value: Option<Value>) -> Vec<Value> {
    match value {
        Some(Value::List(items)) => items,
        _ => Vec::new(),
    }
}

/// Turns an autoscaler of v1 into one of v2.
pub(super) fn to_v2(object: &mut Value) {
    let mut metrics: Vec<Value> = list(annotation(object, METRICS))
        .iter()
        .map(|metric| legacy_metrics::to_v2(metric, Side::Wanted))
        .collect();
    if let Some(percent) = object.remove_path(&["spec", TARGET]) {
        metrics.push(value!({
            "type": "Resource",
            "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": (percent)}},
        }));
    }
    let metrics = if metrics.is_empty() { default_metrics() } else { metrics.into() };
    object.set_path(&["spec", "metrics"], metrics);
    if let Some(behavior) = annotation(object, BEHAVIOR).filter(|behavior| !behavior.is_empty()) {
        object.set_path(&["spec", "behavior"], with_names(&behavior, false));
    }
    let current: Vec<Value> = list(annotation(object, CURRENT_METRICS))
        .iter()
        .map(|metric| legacy_metrics::to_v2(metric, Side::Measured))
        .collect();
    let percent = object.remove_path(&["status", CURRENT]);
    if !current.is_empty() {
        object.set_path(&["status", "currentMetrics"], current);
    } else if let Some(percent) = percent {
        let current = value!({"averageUtilization": (percent), "averageValue": "0"});
        object.set_path(
            &["status", "currentMetrics"],
            value!([{"type": "Resource", "resource": {"name": "cpu", "current": (current)}}]),
        );
    }
    let conditions = list(annotation(object, CONDITIONS));
    if !conditions.is_empty() {
        object.set_path(&["status", "conditions"], conditions);
    }
    drop_annotations(object);
}

fn drop_annotations(object: &mut Value) {
    let Some(annotations) = object.path_mut(&["metadata", "annotations"]).and_then(Value::as_map_mut) else {
        return;
    };
    for name in [METRICS, CURRENT_METRICS, CONDITIONS, BEHAVIOR] {
        annotations.remove(name);
    }
    if annotations.is_empty() {
        object.remove_path(&["metadata", "annotations"]);
    }
}

/// Whether a metric is the one that v1 has a field for.
fn is_cpu(metric: &Value) -> bool {
    metric.path_str(&["type"]) == Some("Resource") && metric.path_str(&["resource", "name"]) == Some("cpu")
}

/// Turns an autoscaler of v2 into one of v1.
pub(super) fn to_v1(object: &mut Value) {
    let utilization: &[&str] = &["resource", "target", "averageUtilization"];
    let metrics = list(object.remove_path(&["spec", "metrics"]));
    let (cpu, others): (Vec<&Value>, Vec<&Value>) =
        metrics.iter().partition(|metric| is_cpu(metric) && metric.path(utilization).is_some());
    if let Some(percent) = cpu.first().and_then(|metric| metric.path(utilization)) {
        object.set_path(&["spec", TARGET], percent.clone());
    }
    let others: Vec<Value> =
        others.into_iter().map(|metric| legacy_metrics::to_v1(metric, Side::Wanted)).collect();
    annotate(object, METRICS, &others.into());
    if let Some(behavior) = object.remove_path(&["spec", "behavior"]) {
        annotate(object, BEHAVIOR, &with_names(&behavior, true));
    }
    let current = list(object.remove_path(&["status", "currentMetrics"]));
    let percent = current
        .iter()
        .filter(|metric| is_cpu(metric))
        .find_map(|metric| metric.path(&["resource", "current", "averageUtilization"]));
    if let Some(percent) = percent {
        object.set_path(&["status", CURRENT], percent.clone());
    }
    let legacy: Vec<Value> =
        current.iter().map(|metric| legacy_metrics::to_v1(metric, Side::Measured)).collect();
    annotate(object, CURRENT_METRICS, &legacy.into());
    if let Some(conditions) = object.remove_path(&["status", "conditions"]) {
        annotate(object, CONDITIONS, &conditions);
    }
    // v1 shows both at all times; clients with strict types want them.
    for field in ["currentReplicas", "desiredReplicas"] {
        if object.path(&["status", field]).is_none() {
            object.set_path(&["status", field], 0_i64);
        }
    }
}

fn annotate(object: &mut Value, name: &str, value: &Value) {
    if !value.is_empty()
        && let Ok(text) = serde_json::to_string(value)
    {
        MetaMut(object).set_annotation(name, &text);
    }
}

/// The same value with field names that begin with a capital letter, as upstream writes this annotation, or a small
/// one.
fn with_names(value: &Value, capital: bool) -> Value {
    match value {
        Value::Map(map) => Value::Map(
            map.iter()
                .filter(|(_, member)| !member.is_null())
                .map(|(name, member)| (renamed(name, capital), with_names(member, capital)))
                .collect::<Map>(),
        ),
        Value::List(items) => items.iter().map(|item| with_names(item, capital)).collect(),
        other => other.clone(),
    }
}

fn renamed(name: &str, capital: bool) -> String {
    let mut letters = name.chars();
    match letters.next() {
        Some(first) if capital => first.to_uppercase().chain(letters).collect(),
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => String::new(),
    }
}
