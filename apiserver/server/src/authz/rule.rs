//! One policy rule of a role, and whether it allows a request.

use mainstay_apiserver_machinery::value::{Map, Value};
use smol_str::SmolStr;

use crate::types::Attributes;

/// A rule: verbs on resources, or verbs on paths outside the resources.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicyRule {
    /// API groups; `*` is all.
    pub api_groups: Vec<SmolStr>,
    /// Resources as `resource`, `resource/subresource`, `*` or `*/subresource`.
    pub resources: Vec<SmolStr>,
    /// Object names; none is all.
    pub resource_names: Vec<SmolStr>,
    /// Paths; a trailing `*` matches every continuation.
    pub non_resource_urls: Vec<SmolStr>,
    /// Verbs; `*` is all.
    pub verbs: Vec<SmolStr>,
}

const ALL: &str = "*";

impl PolicyRule {
    /// Reads a rule of a stored or submitted object; fields of another type count as absent.
    pub fn from_value(value: &Value) -> Self {
        let strings = |field: &str| -> Vec<SmolStr> {
            let items = value.get(field).and_then(Value::as_list).unwrap_or_default();
            items.iter().filter_map(Value::as_str).map(SmolStr::from).collect()
        };
        Self {
            api_groups: strings("apiGroups"),
            resources: strings("resources"),
            resource_names: strings("resourceNames"),
            non_resource_urls: strings("nonResourceURLs"),
            verbs: strings("verbs"),
        }
    }

    /// Reads the `rules` of a role.
    pub fn list_from(role: &Value) -> Vec<Self> {
        role.get("rules").and_then(Value::as_list).unwrap_or_default().iter().map(Self::from_value).collect()
    }

    /// The rule as it stands in an object; empty lists are left out.
    pub fn to_value(&self) -> Value {
        let mut map = Map::default();
        let fields = [
            ("apiGroups", &self.api_groups),
            ("nonResourceURLs", &self.non_resource_urls),
            ("resourceNames", &self.resource_names),
            ("resources", &self.resources),
            ("verbs", &self.verbs),
        ];
        for (name, items) in fields {
            if !items.is_empty() {
                map.insert(name, Value::List(items.iter().cloned().map(Value::Str).collect()));
            }
        }
        Value::Map(map)
    }

    /// Whether the rule allows the request.
    pub fn allows(&self, request: &Attributes) -> bool {
        if !holds(&self.verbs, &request.verb) {
            return false;
        }
        if request.resource_request {
            holds(&self.api_groups, &request.api_group)
                && self.resource_matches(&request.resource, &request.subresource)
                && (self.resource_names.is_empty() || self.resource_names.contains(&request.name))
        } else {
            self.non_resource_urls.iter().any(|url| url_matches(url, &request.path))
        }
    }

    fn resource_matches(&self, resource: &str, subresource: &str) -> bool {
        self.resources.iter().any(|held| {
            if held == ALL {
                return true;
            }
            if subresource.is_empty() {
                return held == resource;
            }
            held.rsplit_once('/')
                .is_some_and(|(kind, sub)| sub == subresource && (kind == ALL || kind == resource))
                || is_pair(held, resource, subresource)
        })
    }
}

/// Whether `held` is exactly `resource/subresource`, also where the subresource itself has slashes.
fn is_pair(held: &str, resource: &str, subresource: &str) -> bool {
    held.strip_prefix(resource).and_then(|rest| rest.strip_prefix('/')) == Some(subresource)
}

fn holds(list: &[SmolStr], wanted: &str) -> bool {
    list.iter().any(|held| held == ALL || held == wanted)
}

/// Whether a rule's path covers a request's path.
pub(crate) fn url_matches(rule: &str, path: &str) -> bool {
    if rule == path {
        return true;
    }
    rule.ends_with('*') && path.starts_with(rule.trim_end_matches('*'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(items: &[&str]) -> Vec<SmolStr> {
        items.iter().map(|item| SmolStr::from(*item)).collect()
    }

    fn rule(resources: &[&str], names: &[&str]) -> PolicyRule {
        PolicyRule {
            api_groups: list(&[""]),
            resources: list(resources),
            resource_names: list(names),
            verbs: list(&["get"]),
            ..PolicyRule::default()
        }
    }

    fn get(resource: &str, subresource: &str, name: &str) -> Attributes {
        Attributes {
            verb: "get".into(),
            resource: resource.into(),
            subresource: subresource.into(),
            name: name.into(),
            resource_request: true,
            ..Attributes::default()
        }
    }

    #[test]
    fn a_resource_does_not_cover_its_subresources() {
        assert!(rule(&["pods"], &[]).allows(&get("pods", "", "a")));
        assert!(!rule(&["pods"], &[]).allows(&get("pods", "exec", "a")));
        assert!(rule(&["pods/exec"], &[]).allows(&get("pods", "exec", "a")));
        assert!(rule(&["*/scale"], &[]).allows(&get("deployments", "scale", "a")));
        assert!(!rule(&["*/scale"], &[]).allows(&get("deployments", "", "a")));
        assert!(rule(&["*"], &[]).allows(&get("pods", "exec", "a")));
    }

    #[test]
    fn names_restrict_and_never_allow_a_nameless_request() {
        assert!(rule(&["pods"], &["a"]).allows(&get("pods", "", "a")));
        assert!(!rule(&["pods"], &["a"]).allows(&get("pods", "", "b")));
        assert!(!rule(&["pods"], &["a"]).allows(&get("pods", "", "")));
    }

    #[test]
    fn paths_match_by_prefix_only_with_a_star() {
        assert!(url_matches("/healthz/*", "/healthz/ping"));
        assert!(!url_matches("/healthz", "/healthz/ping"));
        assert!(url_matches("*", "/anything"));
        assert!(!url_matches("/api", "/apis"));
    }

    #[test]
    fn a_rule_survives_its_value_form() {
        let before = rule(&["pods", "pods/log"], &["a"]);
        assert_eq!(PolicyRule::from_value(&before.to_value()), before);
    }
}
