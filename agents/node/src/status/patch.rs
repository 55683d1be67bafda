//! The strategic merge patch that brings the API's status to the computed one.

use k8s_openapi::api::core::v1::PodStatus;
use serde_json::{Map, Value, json};

/// Fields that the node writes as a whole, absent ones included.
const OWNED: [&str; 14] = [
    "observedGeneration",
    "phase",
    "reason",
    "message",
    "hostIP",
    "hostIPs",
    "podIP",
    "podIPs",
    "startTime",
    "qosClass",
    "initContainerStatuses",
    "containerStatuses",
    "ephemeralContainerStatuses",
    "conditions",
];

/// Lists of these fields merge by key in the API: a changed list must say that it replaces.
const MERGED: [&str; 2] = ["podIPs", "hostIPs"];

/// The patch from `stored` (what the API shows) to `wanted`; `None` when they agree on every field the node owns.
pub(crate) fn status_patch(uid: &str, stored: Option<&PodStatus>, wanted: &PodStatus) -> Option<Value> {
    let object = |status: &PodStatus| match serde_json::to_value(status) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    };
    let old = stored.map(object).unwrap_or_default();
    let new = object(wanted);
    let mut changed = Map::new();
    for field in OWNED {
        let (before, after) = (old.get(field), new.get(field));
        if before == after {
            continue;
        }
        let value = match (field, after) {
            ("conditions", Some(after)) => match changed_conditions(before, after) {
                Some(list) => list,
                None => continue,
            },
            (_, Some(Value::Array(list))) if MERGED.contains(&field) && before.is_some() => {
                let mut list = list.clone();
                list.insert(0, json!({"$patch": "replace"}));
                Value::Array(list)
            }
            (_, Some(after)) => after.clone(),
            (_, None) => Value::Null,
        };
        changed.insert(field.to_owned(), value);
    }
    (!changed.is_empty()).then(|| json!({"metadata": {"uid": uid}, "status": changed}))
}

/// Conditions merge by type: only the node's own that differ are sent, others' stay. Absent texts become null.
fn changed_conditions(before: Option<&Value>, after: &Value) -> Option<Value> {
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let old = list(before);
    let mut changed: Vec<Value> = list(Some(after)).into_iter().filter(|c| !old.contains(c)).collect();
    for condition in &mut changed {
        if let Some(map) = condition.as_object_mut() {
            for field in ["reason", "message"] {
                map.entry(field).or_insert(Value::Null);
            }
        }
    }
    (!changed.is_empty()).then_some(Value::Array(changed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(json: Value) -> PodStatus {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn equal_statuses_need_no_patch_and_foreign_conditions_stay() {
        let stored = status(json!({"phase": "Running", "conditions": [
            {"type": "Ready", "status": "True"}, {"type": "Own", "status": "False"}]}));
        let wanted = status(json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}));
        assert_eq!(status_patch("u", Some(&stored), &wanted), None);
    }

    #[test]
    fn only_what_differs_is_sent_and_absent_fields_are_cleared() {
        let stored = status(json!({"phase": "Pending", "reason": "X", "podIPs": [{"ip": "10.0.0.1"}]}));
        let wanted = status(json!({"phase": "Running", "podIPs": [{"ip": "10.0.0.2"}],
            "conditions": [{"type": "Ready", "status": "True"}]}));
        assert_eq!(
            status_patch("u", Some(&stored), &wanted),
            Some(json!({"metadata": {"uid": "u"}, "status": {
                "phase": "Running", "reason": null,
                "podIPs": [{"$patch": "replace"}, {"ip": "10.0.0.2"}],
                "conditions": [{"type": "Ready", "status": "True", "reason": null, "message": null}]}}))
        );
    }
}
