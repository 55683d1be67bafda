//! Aggregated cluster roles: their rules are the union of the roles that their selectors choose.

use mainstay_apiserver_machinery::value::{Value, from_value};
use mainstay_proto_api::label::{LabelSelector, Labels, Selector};

use super::rule::PolicyRule;

/// A cluster role as aggregation sees it.
#[derive(Debug)]
pub struct Candidate<L> {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: L,
    /// Its rules.
    pub rules: Vec<PolicyRule>,
}

/// The selectors of a role's aggregation rule; none if it has no aggregation rule. A selector that cannot be
/// read chooses nothing.
pub fn selectors(role: &Value) -> Option<Vec<Selector>> {
    let list = role.path(&["aggregationRule", "clusterRoleSelectors"])?.as_list()?;
    let read = |value: &Value| {
        let spec: Option<LabelSelector> = from_value(value).ok();
        Selector::from_spec(spec.as_ref()).unwrap_or_else(|_| Selector::nothing())
    };
    (!list.is_empty()).then(|| list.iter().map(read).collect())
}

/// Whether an object has an aggregation rule, as the escalation check asks.
pub fn is_aggregated(role: &Value) -> bool {
    role.path(&["aggregationRule"]).is_some_and(|rule| !matches!(rule, Value::Null))
}

/// The rules that role `name` gets: of each selector in turn, those of the chosen roles by name, each rule once.
/// Pure.
pub fn aggregate<L: Labels>(name: &str, selectors: &[Selector], roles: &[Candidate<L>]) -> Vec<PolicyRule> {
    let mut joined: Vec<PolicyRule> = Vec::new();
    let mut by_name: Vec<&Candidate<L>> = roles.iter().filter(|role| role.name != name).collect();
    by_name.sort_by(|a, b| a.name.cmp(&b.name));
    for selector in selectors {
        for role in by_name.iter().filter(|role| selector.matches(&role.labels)) {
            for rule in &role.rules {
                if !joined.contains(rule) {
                    joined.push(rule.clone());
                }
            }
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_apiserver_machinery::value;
    use std::collections::BTreeMap;

    fn role(name: &str, label: &str, verbs: &[&str]) -> Candidate<BTreeMap<String, String>> {
        let verbs = verbs.iter().map(|verb| (*verb).into()).collect();
        Candidate {
            name: name.to_owned(),
            labels: BTreeMap::from([(label.to_owned(), "true".to_owned())]),
            rules: vec![PolicyRule { verbs, ..PolicyRule::default() }],
        }
    }

    #[test]
    fn chosen_rules_come_by_name_and_once() {
        let aggregated =
            value!({"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"to-view": "true"}}]}});
        let roles = [
            role("b", "to-view", &["list"]),
            role("a", "to-view", &["get"]),
            role("c", "to-view", &["get"]),
            role("d", "to-edit", &["*"]),
        ];
        let joined = aggregate("view", &selectors(&aggregated).unwrap(), &roles);
        let verbs: Vec<_> = joined.iter().map(|rule| rule.verbs[0].as_str()).collect();
        assert_eq!(verbs, ["get", "list"]);
    }

    #[test]
    fn a_role_never_aggregates_itself() {
        let aggregated =
            value!({"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"x": "true"}}]}});
        assert!(aggregate("a", &selectors(&aggregated).unwrap(), &[role("a", "x", &["get"])]).is_empty());
    }
}
