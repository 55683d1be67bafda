//! Whether budgets let a pod be evicted, and what an eviction takes from a budget: upstream's rules, as pure
//! decisions over trees.

use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::value::{self, Value};
use mainstay_proto_api::label::{LabelSelector, Selector};
use mainstay_proto_api::{Status, StatusCause, StatusDetails};
use smol_str::SmolStr;
use std::collections::BTreeMap;

/// Evictions that one budget may have under way.
const DISRUPTED_PODS_MAX: usize = 2000;
/// Seconds after which an eviction that a budget refuses is worth another try.
const RETRY_SECONDS: u32 = 10;
const REFUSED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

/// What an eviction needs from budgets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Permission {
    /// Nothing: the pod is deleted.
    Free,
    /// The budget's leave: it has one disruption less afterwards.
    Ask,
}

/// Whether the pod may go without a look at budgets: it does not run, or is going already.
pub(super) fn is_free(pod: &Value) -> bool {
    let phase = pod.path_str(&["status", "phase"]).unwrap_or_default();
    matches!(phase, "Succeeded" | "Failed" | "Pending") || Meta(pod).is_deleting()
}

/// Whether the budget is about the pod.
pub(super) fn covers(budget: &Value, pod: &Value) -> bool {
    let Some(spec) = budget.path(&["spec", "selector"]) else { return false };
    let parsed = value::from_value::<LabelSelector>(spec).ok();
    let labels: BTreeMap<&str, &str> = Meta(pod).label_pairs().collect();
    parsed
        .and_then(|spec| Selector::from_spec(Some(&spec)).ok())
        .is_some_and(|selector| selector.matches(&labels))
}

fn is_ready(pod: &Value) -> bool {
    pod.path_list(&["status", "conditions"])
        .iter()
        .any(|one| one.path_str(&["type"]) == Some("Ready") && one.path_str(&["status"]) == Some("True"))
}

/// What evicting the pod needs from the budget that covers it.
pub(super) fn permission(budget: &Value, pod: &Value) -> Permission {
    if is_ready(pod) {
        return Permission::Ask;
    }
    let number = |field: &str| budget.path_i64(&["status", field]).unwrap_or_default();
    let healthy = number("currentHealthy") >= number("desiredHealthy") && number("desiredHealthy") > 0;
    // A pod that serves nobody may go while the others are enough, or always, as the budget says.
    if healthy || budget.path_str(&["spec", "unhealthyPodEvictionPolicy"]) == Some("AlwaysAllow") {
        Permission::Free
    } else {
        Permission::Ask
    }
}

/// A client that is told when to come back comes back by itself, ten times and without a word, so that a drain with a
/// deadline would not keep it: upstream says so only where waiting helps.
fn refused(cause: String, retry_seconds: u32) -> Status {
    let cause = StatusCause { reason: "DisruptionBudget".into(), message: cause, field: SmolStr::default() };
    let details = StatusDetails { causes: vec![cause], ..StatusDetails::default() };
    Status::failure(429, "TooManyRequests", REFUSED).with_details(details).with_retry_after(retry_seconds)
}

/// The budget after one more eviction.
///
/// # Errors
/// 429 when it allows none now; 403 when its state makes no sense.
pub(super) fn take(budget: &Value, pod: &str, now: &str) -> Result<Value, Status> {
    let name = Meta(budget).name();
    let number = |field: &str| budget.path_i64(&["status", field]).unwrap_or_default();
    let forbidden = |why: &str| Err(Status::forbidden("policy", "poddisruptionbudget", name, why));
    if number("observedGeneration") < Meta(budget).generation() {
        let cause = format!("The disruption budget {name} is still being processed by the server.");
        return Err(refused(cause, RETRY_SECONDS));
    }
    let allowed = number("disruptionsAllowed");
    if allowed < 0 {
        return forbidden("pdb disruptions allowed is negative");
    }
    if budget.path_map(&["status", "disruptedPods"]).is_some_and(|pods| pods.len() > DISRUPTED_PODS_MAX) {
        return forbidden("DisruptedPods map too big - too many evictions not confirmed by PDB controller");
    }
    if allowed == 0 {
        let cause = format!(
            "The disruption budget {name} needs {} healthy pods and has {} currently",
            number("desiredHealthy"),
            number("currentHealthy")
        );
        return Err(refused(cause, 0));
    }
    let mut budget = budget.clone();
    budget.set_path(&["status", "disruptionsAllowed"], allowed - 1);
    if allowed == 1 {
        mark_insufficient(&mut budget, now);
    }
    budget.set_path(&["status", "disruptedPods", pod], now);
    Ok(budget)
}

fn mark_insufficient(budget: &mut Value, now: &str) {
    let conditions = budget.path_mut(&["status", "conditions"]).and_then(Value::as_list_mut);
    let condition = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition.path_str(&["type"]) == Some("DisruptionAllowed"));
    if let Some(condition) = condition {
        condition.set_path(&["status"], "False");
        condition.set_path(&["reason"], "InsufficientPods");
        condition.set_path(&["lastTransitionTime"], now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_apiserver_machinery::value;

    fn budget(allowed: i64, healthy: i64, observed: i64) -> Value {
        value!({
            "metadata": {"name": "web", "generation": 2},
            "spec": {"selector": {"matchLabels": {"app": "web"}}},
            "status": {
                "observedGeneration": (observed), "disruptionsAllowed": (allowed), "currentHealthy": (healthy),
                "desiredHealthy": 2,
            },
        })
    }

    fn pod(ready: &str) -> Value {
        value!({
            "metadata": {"name": "web-1", "labels": {"app": "web"}},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]},
        })
    }

    #[test]
    fn a_budget_is_about_the_pods_that_it_selects() {
        assert!(covers(&budget(1, 3, 2), &pod("True")));
        assert!(!covers(&budget(1, 3, 2), &value!({"metadata": {"labels": {"app": "db"}}})));
        assert!(!covers(&value!({"spec": {}}), &pod("True")));
    }

    #[test]
    fn pods_that_do_not_run_are_free() {
        assert!(is_free(&value!({"status": {"phase": "Pending"}})) && !is_free(&pod("True")));
    }

    #[test]
    fn unready_pods_are_free_while_the_others_are_enough() {
        assert_eq!(permission(&budget(0, 2, 2), &pod("False")), Permission::Free);
        assert_eq!(permission(&budget(0, 1, 2), &pod("False")), Permission::Ask);
        assert_eq!(permission(&budget(0, 2, 2), &pod("True")), Permission::Ask);
        let mut always = budget(0, 0, 2);
        always.set_path(&["spec", "unhealthyPodEvictionPolicy"], "AlwaysAllow");
        assert_eq!(permission(&always, &pod("False")), Permission::Free);
    }

    #[test]
    fn each_eviction_takes_one_disruption() {
        let after = take(&budget(2, 4, 2), "web-1", "2026-03-01T00:00:00Z").unwrap();
        assert_eq!(after.path_i64(&["status", "disruptionsAllowed"]), Some(1));
        assert_eq!(after.path_str(&["status", "disruptedPods", "web-1"]), Some("2026-03-01T00:00:00Z"));
        let none = take(&budget(0, 2, 2), "web-1", "").unwrap_err();
        assert_eq!((none.code, none.message.as_str(), none.retry_after_seconds()), (429, REFUSED, None));
        assert_eq!(
            none.details.unwrap().causes[0].message,
            "The disruption budget web needs 2 healthy pods and has 2 currently"
        );
        let stale = take(&budget(2, 4, 1), "web-1", "").unwrap_err();
        assert_eq!(stale.retry_after_seconds(), Some(RETRY_SECONDS));
        assert_eq!(take(&budget(-1, 4, 2), "web-1", "").unwrap_err().code, 403);
    }
}
