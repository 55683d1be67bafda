//! The condition `DisruptionAllowed` of a budget.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use mainstay_agents_kit::time::time;

use super::world::World;

const DISRUPTION_ALLOWED: &str = "DisruptionAllowed";

/// The conditions when the pods were counted.
pub(super) fn allowed_condition(world: &World, allowed: bool, generation: Option<i64>) -> Vec<Condition> {
    let (status, reason) = if allowed { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    with(world, (status, reason, ""), generation)
}

/// The conditions when they could not be counted.
pub(super) fn failed_condition(world: &World, why: &str, generation: Option<i64>) -> Vec<Condition> {
    with(world, ("False", "SyncFailed", why), generation)
}

/// The present conditions with this one; its time changes only with its status.
fn with(
    world: &World,
    (status, reason, message): (&str, &str, &str),
    generation: Option<i64>,
) -> Vec<Condition> {
    let present = world.budget.status.as_ref().and_then(|status| status.conditions.clone());
    let mut conditions = present.unwrap_or_default();
    let at = conditions.iter().position(|condition| condition.type_ == DISRUPTION_ALLOWED);
    let before = at.and_then(|at| conditions.get(at)).filter(|condition| condition.status == status);
    let condition = Condition {
        type_: DISRUPTION_ALLOWED.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        observed_generation: generation,
        last_transition_time: before
            .map_or_else(|| time(world.now), |condition| condition.last_transition_time.clone()),
    };
    match at.and_then(|at| conditions.get_mut(at)) {
        Some(place) => *place = condition,
        None => conditions.push(condition),
    }
    conditions
}
