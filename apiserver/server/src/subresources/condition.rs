//! [`set_condition`]: what the server itself says about pods.

use mainstay_apiserver_machinery::value::Value;

/// Puts a condition into a pod's status. One that says the same keeps the time since when it does.
pub(super) fn set_condition(pod: &mut Value, mut condition: Value) {
    let mut conditions = pod.path_list(&["status", "conditions"]).to_vec();
    match conditions.iter_mut().find(|held| held.get("type") == condition.get("type")) {
        Some(held) => {
            let since = held
                .path_str(&["lastTransitionTime"])
                .filter(|_| held.get("status") == condition.get("status"));
            if let Some(since) = since {
                condition.set_path(&["lastTransitionTime"], since);
            }
            *held = condition;
        }
        None => conditions.push(condition),
    }
    pod.set_path(&["status", "conditions"], conditions);
}
