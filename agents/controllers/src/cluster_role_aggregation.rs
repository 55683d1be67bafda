//! A ClusterRole with an aggregation rule holds the rules of all roles that the rule selects.

use std::sync::Arc;

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use k8s_openapi::jiff::Timestamp;
use mainstay_agents_kit::informer::{Informers, Reader};
use mainstay_agents_kit::reconcile::{Next, ObserveError, Reconciler, Watch};
use mainstay_agents_kit::step::Step;
use mainstay_agents_kit::{ObjectKey, selector_of};
use serde_json::json;

/// Collects the rules of aggregated roles.
pub(crate) struct ClusterRoleAggregation {
    roles: Reader<ClusterRole>,
}

pub(crate) struct World {
    role: Arc<ClusterRole>,
    /// All roles, by name.
    all: Vec<Arc<ClusterRole>>,
}

impl ClusterRoleAggregation {
    pub(crate) fn new(informers: &Informers) -> Self {
        Self { roles: informers.reader() }
    }
}

impl Reconciler for ClusterRoleAggregation {
    type World = World;

    fn name(&self) -> &'static str {
        "clusterrole-aggregation-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        let roles = self.roles.clone();
        // Any role may be part of any aggregated one.
        let aggregated = move |_changed: &ClusterRole| {
            let all = roles.list();
            let aggregated = all.iter().filter(|role| role.aggregation_rule.is_some());
            aggregated.map(|role| ObjectKey::of(role.as_ref())).collect()
        };
        vec![Watch::map(&self.roles, aggregated)]
    }

    async fn observe(&self, key: &ObjectKey, _now: Timestamp) -> Result<Option<World>, ObserveError> {
        let Some(role) = self.roles.get(key) else { return Ok(None) };
        Ok(Some(World { role, all: self.roles.list() }))
    }

    fn plan(&self, world: &World) -> (Vec<Step>, Next) {
        plan(world)
    }
}

fn plan(world: &World) -> (Vec<Step>, Next) {
    let Some(rule) = &world.role.aggregation_rule else { return (Vec::new(), Next::Done) };
    let selectors: Vec<_> = rule
        .cluster_role_selectors
        .iter()
        .flatten()
        .filter_map(|selector| selector_of(Some(selector)).ok())
        .collect();
    let mut rules: Vec<PolicyRule> = Vec::new();
    for selector in &selectors {
        let parts = world.all.iter().filter(|part| {
            part.metadata.name != world.role.metadata.name && selector.matches(&part.metadata.labels)
        });
        for rule in parts.flat_map(|part| part.rules.iter().flatten()) {
            if !rules.contains(rule) {
                rules.push(rule.clone());
            }
        }
    }
    if world.role.rules.as_deref().unwrap_or_default() == rules {
        return (Vec::new(), Next::Done);
    }
    (vec![Step::merge_exact(world.role.as_ref(), json!({ "rules": rules }))], Next::Done)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::api::rbac::v1::ClusterRole;
    use serde_json::{Value, json};

    use super::{World, plan};

    fn role(value: Value) -> Arc<ClusterRole> {
        Arc::new(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn the_rules_of_selected_roles_are_joined_once_each() {
        let pods = json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]});
        let nodes = json!({"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]});
        let labels = json!({"aggregate": "yes"});
        let view = role(json!({
            "metadata": {"name": "view", "uid": "u", "resourceVersion": "7", "labels": labels},
            "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": labels}]},
        }));
        let a = role(json!({"metadata": {"name": "a", "labels": labels}, "rules": [pods, nodes]}));
        let b = role(json!({"metadata": {"name": "b", "labels": labels}, "rules": [pods]}));
        let other = role(json!({"metadata": {"name": "c"}, "rules": [pods]}));
        let (steps, _) = plan(&World { role: Arc::clone(&view), all: vec![a, b, other, view] });
        assert_eq!(
            steps[0].to_string(),
            format!(
                "patch ClusterRole view {}",
                json!({"rules": [pods, nodes], "metadata": {"uid": "u", "resourceVersion": "7"}})
            )
        );
    }
}
