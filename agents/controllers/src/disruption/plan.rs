//! The status that a budget should have, as upstream's disruption controller counts it.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use mainstay_agents_kit::events::EventType;
use mainstay_agents_kit::reconcile::Next;
use mainstay_agents_kit::step::Step;
use mainstay_agents_kit::time::elapsed;

use super::status::{allowed_condition, failed_condition};
use super::world::World;
use crate::counts::{count, scaled};
use crate::pods;

/// How long an evicted pod may take to be marked as deleted before the eviction counts as lost.
const DELETION_TIMEOUT: Duration = Duration::from_secs(2 * 60);

/// Whether the budget depends on how many pods are expected.
pub(super) fn counts_in_parts(budget: &PodDisruptionBudget) -> bool {
    budget.spec.as_ref().is_some_and(|spec| {
        spec.max_unavailable.is_some() || matches!(spec.min_available, Some(IntOrString::String(_)))
    })
}

pub(super) fn plan(world: &World) -> (Vec<Step>, Next) {
    let budget = world.budget.as_ref();
    let mut steps = Vec::new();
    let mut tell =
        |kind, reason: &str, message: String| steps.push(Step::event(budget, kind, reason, message));
    if world.pods.is_empty() {
        tell(EventType::Normal, "NoPods", "No matching pods found".to_owned());
    }
    let scales = match &world.scales {
        Ok(scales) => scales,
        Err(why) => {
            let message = format!("Failed to calculate the number of expected pods: {why}");
            tell(EventType::Warning, "CalculateExpectedPodCountFailed", message);
            steps.extend(changed(world, failed(world, why)));
            return (steps, Next::Done);
        }
    };
    if scales.has_unmanaged {
        let message = "Some pods that this PodDisruptionBudget selects have no controller, so what is expected cannot be \
                       counted from it. Set \".spec.minAvailable\" to a whole number to take them into account."
            .to_owned();
        tell(EventType::Warning, "UnmanagedPods", message);
    }
    let (expected, desired) = counted(world, scales.expected());
    let (disrupted, next) = disrupted(world);
    let healthy = count(world.pods.iter().filter(|pod| is_healthy(world, pod, &disrupted)).count());
    let allowed = if expected <= 0 { 0 } else { healthy.saturating_sub(desired).max(0) };
    let generation = budget.metadata.generation;
    let status = PodDisruptionBudgetStatus {
        current_healthy: Some(healthy),
        desired_healthy: Some(desired),
        disrupted_pods: (!disrupted.is_empty()).then_some(disrupted),
        disruptions_allowed: Some(allowed),
        expected_pods: Some(expected),
        observed_generation: generation,
        conditions: Some(allowed_condition(world, allowed > 0, generation)),
    };
    steps.extend(changed(world, status));
    (steps, next)
}

/// How many pods are expected, and how many of them shall be healthy.
fn counted(world: &World, expected: i32) -> (i32, i32) {
    let Some(spec) = &world.budget.spec else { return (0, 0) };
    match (&spec.max_unavailable, &spec.min_available) {
        (Some(most), _) => (expected, expected.saturating_sub(scaled(most, expected, true)).max(0)),
        (None, Some(IntOrString::Int(least))) => (count(world.pods.len()), *least),
        (None, Some(least)) => (expected, scaled(least, expected, true)),
        (None, None) => (0, 0),
    }
}

/// The evictions that are still under way, and when the first of them counts as lost.
fn disrupted(world: &World) -> (BTreeMap<String, Time>, Next) {
    let known =
        world.budget.status.as_ref().and_then(|status| status.disrupted_pods.clone()).unwrap_or_default();
    let mut next = Next::Done;
    let mut kept = BTreeMap::new();
    for pod in world.pods.iter().filter(|pod| !pods::is_terminating(pod)) {
        let Some((name, since)) = pod.metadata.name.as_ref().and_then(|name| known.get_key_value(name))
        else {
            continue;
        };
        let passed = elapsed(since.0, world.now);
        if passed <= DELETION_TIMEOUT {
            kept.insert(name.clone(), since.clone());
            next =
                next.earlier(Next::After(DELETION_TIMEOUT.saturating_sub(passed) + Duration::from_secs(1)));
        }
    }
    (kept, next)
}

fn is_healthy(
    world: &World,
    pod: &k8s_openapi::api::core::v1::Pod,
    disrupted: &BTreeMap<String, Time>,
) -> bool {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let is_going = disrupted.get(name).is_some_and(|since| elapsed(since.0, world.now) < DELETION_TIMEOUT);
    !pods::is_terminating(pod) && !is_going && pods::is_ready(pod)
}

/// The status when the counting failed: nothing may be evicted.
fn failed(world: &World, why: &str) -> PodDisruptionBudgetStatus {
    let before = world.budget.status.clone().unwrap_or_default();
    let conditions = failed_condition(world, why, before.observed_generation);
    PodDisruptionBudgetStatus { disruptions_allowed: Some(0), conditions: Some(conditions), ..before }
}

/// The write of a status that differs from the present one.
fn changed(world: &World, status: PodDisruptionBudgetStatus) -> Option<Step> {
    if world.budget.status.as_ref() == Some(&status) {
        return None;
    }
    let mut budget = world.budget.as_ref().clone();
    budget.status = Some(status);
    Some(Step::replace_status(&budget))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::world::Scales;
    use super::*;
    use crate::golden;

    #[test]
    fn goldens() {
        golden::check("disruption", |world| {
            let scales = match world.get("unknownOwner").and_then(serde_json::Value::as_str) {
                Some(pod) => Err(format!("found no controllers for pod {pod:?}")),
                None => Ok(Scales {
                    replicas: world
                        .get("scales")
                        .map_or_else(Default::default, |_| golden::one(world, "scales")),
                    has_unmanaged: world.get("unmanaged").is_some(),
                }),
            };
            plan(&World {
                budget: Arc::new(golden::one(world, "budget")),
                pods: golden::list(world, "pods"),
                scales,
                now: golden::one(world, "now"),
            })
        });
    }
}
