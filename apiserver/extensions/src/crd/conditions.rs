//! Conditions of a definition.

use mainstay_apiserver_machinery::pipeline::timestamp;
use mainstay_apiserver_machinery::value;
use mainstay_apiserver_machinery::value::Value;
use time::OffsetDateTime;

/// Keeps a definition until its objects are deleted.
pub const CLEANUP_FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

/// One condition as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// `type`.
    pub condition_type: &'static str,
    /// `True`, `False` or `Unknown`.
    pub status: &'static str,
    /// `reason`.
    pub reason: &'static str,
    /// `message`.
    pub message: String,
}

/// The condition of a type.
pub fn condition<'v>(crd: &'v Value, condition_type: &str) -> Option<&'v Value> {
    let mut list = crd.path_list(&["status", "conditions"]).iter();
    list.find(|condition| condition.path_str(&["type"]) == Some(condition_type))
}

/// Whether a condition is `True`.
pub fn is_true(crd: &Value, condition_type: &str) -> bool {
    condition(crd, condition_type).and_then(|found| found.path_str(&["status"])) == Some("True")
}

/// Sets a condition; the transition time changes with the status only.
pub fn set_condition(crd: &mut Value, wanted: &Condition, now: OffsetDateTime) {
    let before = condition(crd, wanted.condition_type);
    let time = before
        .filter(|before| before.path_str(&["status"]) == Some(wanted.status))
        .and_then(|before| before.path_str(&["lastTransitionTime"]))
        .map_or_else(|| timestamp(now), str::to_owned);
    let new = value!({
        "type": wanted.condition_type, "status": wanted.status, "lastTransitionTime": time,
        "reason": wanted.reason, "message": wanted.message.as_str(),
    });
    let list = crd.make_map().get_or_insert_map("status").get_or_insert_list("conditions");
    match list.iter_mut().find(|one| one.path_str(&["type"]) == Some(wanted.condition_type)) {
        Some(place) => *place = new,
        None => list.push(new),
    }
}

/// Takes a condition away.
pub fn remove_condition(crd: &mut Value, condition_type: &str) {
    if let Some(list) = crd.path_mut(&["status", "conditions"]).and_then(Value::as_list_mut) {
        list.retain(|one| one.path_str(&["type"]) != Some(condition_type));
    }
}
