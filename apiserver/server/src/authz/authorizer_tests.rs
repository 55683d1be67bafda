//! Decisions over the default policy, as a golden table.

use super::*;
use crate::authz::index::{Binding, Scope};
use crate::authz::rule::PolicyRule;
use crate::authz::{aggregation, forbidden};
use crate::bootstrap::policy::default_policy;
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::value;
use mainstay_apiserver_machinery::value::Value;

fn scope(object: &Value) -> Scope {
    Scope { namespace: Meta(object).namespace().into(), name: Meta(object).name().into() }
}

/// The default policy with its aggregated roles filled in, and a few bindings of a made-up cluster.
fn index() -> RbacIndex {
    let policy = default_policy().unwrap();
    let mut roles = policy.cluster_roles.clone();
    // edit aggregates view's rules, admin those of edit: three passes settle them.
    for _ in 0..3 {
        let candidates: Vec<_> = roles
            .iter()
            .map(|role| aggregation::Candidate {
                name: Meta(role).name().to_owned(),
                labels: Meta(role)
                    .label_pairs()
                    .map(|(k, v)| (k.to_owned(), v.to_owned()))
                    .collect::<std::collections::BTreeMap<_, _>>(),
                rules: PolicyRule::list_from(role),
            })
            .collect();
        for role in &mut roles {
            let Some(selectors) = aggregation::selectors(role) else { continue };
            let joined = aggregation::aggregate(Meta(role).name(), &selectors, &candidates);
            role.set_path(&["rules"], joined.iter().map(PolicyRule::to_value).collect::<Vec<_>>());
        }
    }
    let mut index = RbacIndex::default();
    for role in roles.iter().chain(&policy.roles) {
        index.set_role(scope(role), PolicyRule::list_from(role));
    }
    for binding in policy.cluster_role_bindings.iter().chain(&policy.role_bindings) {
        let at = scope(binding);
        index.set_binding(&at, Binding::from_value(binding, &at.namespace));
    }
    for (namespace, name, role, subject) in [
        ("team", "jane-edits", "edit", value!({"kind": "User", "name": "jane"})),
        ("team", "bot-views", "view", value!({"kind": "ServiceAccount", "name": "bot"})),
        ("team", "ghost", "no-such-role", value!({"kind": "User", "name": "ghost"})),
    ] {
        let mut binding = value!({"roleRef": {"kind": "ClusterRole", "name": role}});
        binding.set_path(&["subjects"], vec![subject]);
        let at = Scope { namespace: namespace.into(), name: name.into() };
        index.set_binding(&at, Binding::from_value(&binding, namespace));
    }
    index
}

fn user(name: &str) -> UserInfo {
    let groups: &[&str] = match name {
        "admin" => &["system:masters", "system:authenticated"],
        "system:anonymous" => &["system:unauthenticated"],
        "system:node:n1" => &["system:nodes", "system:authenticated"],
        _ => &["system:authenticated"],
    };
    UserInfo::new(name, groups.iter().copied())
}

/// `verb resource[/sub][.group][:name][@namespace]`, or `verb /path`.
fn attributes(words: &[&str]) -> Attributes {
    let verb = words[0].into();
    if words[1].starts_with('/') {
        return Attributes { verb, path: words[1].into(), ..Attributes::default() };
    }
    let (rest, namespace) = words[1].split_once('@').unwrap_or((words[1], ""));
    let (rest, name) = rest.split_once(':').unwrap_or((rest, ""));
    let (rest, api_group) = rest.split_once('.').unwrap_or((rest, ""));
    let (resource, subresource) = rest.split_once('/').unwrap_or((rest, ""));
    Attributes {
        verb,
        api_group: api_group.into(),
        resource: resource.into(),
        subresource: subresource.into(),
        namespace: namespace.into(),
        name: name.into(),
        resource_request: true,
        ..Attributes::default()
    }
}

/// Each line `USER VERB WHAT` of the golden is followed by the decision.
#[test]
fn decisions_are_those_of_the_golden() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/rbac.txt");
    let golden = std::fs::read_to_string(path).unwrap();
    let authorizer = Authorizer::default();
    authorizer.replace(index());
    let mut actual = String::new();
    for line in golden.lines().filter(|line| !line.starts_with("  ")) {
        actual.push_str(line);
        actual.push('\n');
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let (user, attributes) = (user(words[0]), attributes(&words[1..]));
        let Verdict::Now(decision) = authorizer.ask(&user, &attributes) else {
            panic!("nothing to wait for")
        };
        let answer = match decision {
            Decision::Allow(reason) => format!("  allow {reason}"),
            decision => format!("  no {}", forbidden::message(&user, &attributes, decision.reason())),
        };
        actual.push_str(answer.trim_end());
        actual.push('\n');
    }
    // The one environment switch of goldens, read by tests only.
    if std::env::vars().any(|(name, value)| name == "UPDATE_GOLDEN" && value == "1") {
        std::fs::write(path, &actual).unwrap();
    }
    assert_eq!(actual, golden);
}

#[test]
fn a_removed_binding_grants_nothing() {
    let mut index = index();
    let ask = attributes(&["delete", "pods:x@team"]);
    assert!(decide(&index, &user("jane"), &ask).is_allowed());
    index.remove_binding(&Scope { namespace: "team".into(), name: "jane-edits".into() });
    assert!(!decide(&index, &user("jane"), &ask).is_allowed());
}

#[test]
fn a_rebound_binding_grants_only_its_new_subjects() {
    let mut index = index();
    let at = Scope { namespace: "team".into(), name: "jane-edits".into() };
    let binding = value!({
        "roleRef": {"kind": "ClusterRole", "name": "edit"},
        "subjects": [{"kind": "User", "name": "joe"}]
    });
    index.set_binding(&at, Binding::from_value(&binding, "team"));
    let ask = attributes(&["delete", "pods:x@team"]);
    assert!(!decide(&index, &user("jane"), &ask).is_allowed());
    assert!(decide(&index, &user("joe"), &ask).is_allowed());
}
