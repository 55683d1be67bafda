//! Reconciles the default roles and bindings at start, as upstream: what is missing is added, what an administrator
//! added stays, and an object annotated `rbac.authorization.kubernetes.io/autoupdate: "false"` is left alone.

use futures::StreamExt as _;
use mainstay_apiserver_kinds::{CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING};
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::object::{Meta, MetaMut};
use mainstay_apiserver_machinery::pipeline::Target;
use mainstay_apiserver_machinery::pipeline::deletion::DeleteOptions;
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Status;
use tracing::info;

use super::policy::{AUTOUPDATE, DefaultPolicy};
use super::seed::Seeder;
use crate::authz::PolicyRule;
use crate::authz::covers::{Coverage, covers};

/// Writes under way at once.
const WRITES_MAX: usize = 32;

/// What one default object needs. Pure result of [`plan`].
#[derive(Debug, Clone, PartialEq)]
pub enum Plan {
    /// Nothing.
    Keep,
    /// This object in place of the stored one.
    Update(Value),
    /// A binding to another role: it is deleted and made again, since its role cannot change.
    Recreate,
}

/// Compares a stored default object with the wanted one.
pub fn plan(stored: &Value, wanted: &Value) -> Plan {
    if Meta(stored).annotation(AUTOUPDATE) == Some("false") {
        return Plan::Keep;
    }
    if wanted.get("roleRef").is_some() && stored.get("roleRef") != wanted.get("roleRef") {
        return Plan::Recreate;
    }
    let mut new = stored.clone();
    add_metadata(&mut new, wanted);
    add_selectors(&mut new, wanted);
    add_rules(&mut new, wanted);
    add_subjects(&mut new, wanted);
    if new == *stored { Plan::Keep } else { Plan::Update(new) }
}

fn add_metadata(new: &mut Value, wanted: &Value) {
    for (key, value) in Meta(wanted).label_pairs() {
        if Meta(new).label(key).is_none() {
            MetaMut(new).set_label(key, value);
        }
    }
    for (key, value) in Meta(wanted).annotations().into_iter().flatten() {
        if Meta(new).annotation(key).is_none() {
            MetaMut(new).set_annotation(key, value.as_str().unwrap_or_default());
        }
    }
}

fn add_selectors(new: &mut Value, wanted: &Value) {
    const PATH: &[&str] = &["aggregationRule", "clusterRoleSelectors"];
    let mut held = new.path_list(PATH).to_vec();
    let missing: Vec<Value> =
        wanted.path_list(PATH).iter().filter(|item| !held.contains(item)).cloned().collect();
    if !missing.is_empty() {
        held.extend(missing);
        new.set_path(PATH, held);
    }
}

fn add_rules(new: &mut Value, wanted: &Value) {
    if wanted.get("aggregationRule").is_some() {
        return;
    }
    let held = PolicyRule::list_from(new);
    if let Coverage::Missing(missing) = covers(&held, &PolicyRule::list_from(wanted)) {
        let rules: Vec<Value> = held.iter().chain(&missing).map(PolicyRule::to_value).collect();
        new.set_path(&["rules"], rules);
    }
}

fn add_subjects(new: &mut Value, wanted: &Value) {
    let same =
        |a: &Value, b: &Value| ["kind", "name", "namespace"].iter().all(|field| a.get(field) == b.get(field));
    let mut held = new.path_list(&["subjects"]).to_vec();
    let missing: Vec<Value> = wanted
        .path_list(&["subjects"])
        .iter()
        .filter(|subject| !held.iter().any(|known| same(known, subject)))
        .cloned()
        .collect();
    if !missing.is_empty() {
        held.extend(missing);
        new.set_path(&["subjects"], held);
    }
}

/// Brings the stored policy up to the default one.
///
/// # Errors
/// The first write that is refused.
pub async fn reconcile(seeder: &Seeder, policy: &DefaultPolicy) -> Result<(), Status> {
    let lists: [(&'static Kind, &[Value]); 4] = [
        (&CLUSTER_ROLE, &policy.cluster_roles),
        (&CLUSTER_ROLE_BINDING, &policy.cluster_role_bindings),
        (&ROLE, &policy.roles),
        (&ROLE_BINDING, &policy.role_bindings),
    ];
    let mut changed = 0_usize;
    for (kind, objects) in lists {
        // At once, so that the store can write many of them with one sync.
        let writes = objects.iter().map(|wanted| reconcile_one(seeder, kind, wanted));
        let mut writes = futures::stream::iter(writes).buffer_unordered(WRITES_MAX);
        while let Some(written) = writes.next().await {
            changed += usize::from(written?);
        }
    }
    if changed > 0 {
        info!(changed, "reconciled the default roles and bindings");
    }
    Ok(())
}

async fn reconcile_one(seeder: &Seeder, kind: &'static Kind, wanted: &Value) -> Result<bool, Status> {
    let (namespace, name) = (Meta(wanted).namespace(), Meta(wanted).name());
    let Some(cached) = seeder.registry().get(kind, namespace, name) else {
        return seeder.ensure(kind, wanted).await;
    };
    let stored = seeder.registry().decode_served(kind, &cached)?;
    let request = Seeder::request(kind, namespace, name);
    match plan(&stored, wanted) {
        Plan::Keep => Ok(false),
        Plan::Update(_) => {
            let change = |current: &Value| match plan(current, wanted) {
                Plan::Update(new) => Ok(new),
                Plan::Keep | Plan::Recreate => Ok(current.clone()),
            };
            seeder.writer().update(&request, Target::Object, change).await?;
            Ok(true)
        }
        Plan::Recreate => {
            seeder.writer().delete(&request, &DeleteOptions::default()).await?;
            seeder.ensure(kind, wanted).await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_apiserver_machinery::value;

    fn role(rules: Value) -> Value {
        value!({"metadata": {"name": "r", "annotations": {AUTOUPDATE: "true"}}, "rules": rules})
    }

    #[test]
    fn missing_rules_are_added_and_own_ones_stay() {
        let stored = role(value!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods", "mine"]}]));
        let wanted = role(value!([{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}]));
        let Plan::Update(new) = plan(&stored, &wanted) else { panic!("list is missing") };
        let rules = PolicyRule::list_from(&new);
        assert_eq!(rules.len(), 2);
        assert_eq!(rules[1].verbs, ["list"]);
        assert_eq!(plan(&new, &wanted), Plan::Keep);
    }

    #[test]
    fn an_administrator_can_opt_out() {
        let mut stored = role(value!([]));
        stored.set_path(&["metadata", "annotations", AUTOUPDATE], "false");
        assert_eq!(plan(&stored, &role(value!([{"verbs": ["*"]}]))), Plan::Keep);
    }

    #[test]
    fn a_binding_to_another_role_is_made_again() {
        let binding = |role: &str| value!({"metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": role}});
        assert_eq!(plan(&binding("a"), &binding("b")), Plan::Recreate);
        let mut wanted = binding("a");
        wanted.set_path(&["subjects"], value!([{"kind": "User", "name": "jane"}]));
        let Plan::Update(new) = plan(&binding("a"), &wanted) else { panic!("jane is missing") };
        assert_eq!(new.path_list(&["subjects"]).len(), 1);
    }
}
