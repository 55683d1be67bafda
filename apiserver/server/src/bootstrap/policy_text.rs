//! Reads the policy data files next to this module. Pure; the form is described at the top of each file.

use smol_str::SmolStr;

use crate::authz::PolicyRule;

/// A role of the default policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyRole {
    /// The namespace, empty for a cluster role.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The word after the name, if there is one.
    pub mark: Option<String>,
    /// The label whose roles make up the rules, for an aggregated role.
    pub aggregates: Option<String>,
    /// The rules.
    pub rules: Vec<PolicyRule>,
}

/// A binding of the default policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyBinding {
    /// The namespace, empty for a cluster role binding.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The role.
    pub role: String,
    /// The subjects.
    pub subjects: Vec<PolicySubject>,
}

/// A subject of a default binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicySubject {
    /// A user by name.
    User(String),
    /// A group by name.
    Group(String),
    /// A service account by namespace and name.
    ServiceAccount(String, String),
}

/// A line that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("default policy, line {line}: {what}")]
pub struct PolicyTextError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub what: &'static str,
}

/// Roles and bindings of one file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyText {
    /// The roles.
    pub roles: Vec<PolicyRole>,
    /// The bindings, of lines that begin with `bind`.
    pub bindings: Vec<PolicyBinding>,
}

/// Reads a file of roles.
pub fn parse_roles(text: &str) -> Result<PolicyText, PolicyTextError> {
    let mut parsed = PolicyText::default();
    for (line, words) in lines(text) {
        let fail = |what| PolicyTextError { line, what };
        match words.as_slice() {
            ["role", name] => parsed.roles.push(new_role(name, None)),
            ["role", name, mark] => parsed.roles.push(new_role(name, Some(mark))),
            ["bind", name, role, subjects @ ..] => {
                parsed.bindings.push(new_binding(name, role, subjects).ok_or_else(|| fail("not a subject"))?);
            }
            words => {
                let role = parsed.roles.last_mut().ok_or_else(|| fail("a rule before the first role"))?;
                match words {
                    ["aggregate", label] => role.aggregates = Some((*label).to_owned()),
                    ["events"] => role.rules.push(events_rule()),
                    words => role.rules.push(parse_rule(words).ok_or_else(|| fail("not a rule"))?),
                }
            }
        }
    }
    Ok(parsed)
}

/// Reads a file of bindings.
pub fn parse_bindings(text: &str) -> Result<Vec<PolicyBinding>, PolicyTextError> {
    lines(text)
        .map(|(line, words)| match words.as_slice() {
            [name, role, subjects @ ..] => {
                new_binding(name, role, subjects).ok_or(PolicyTextError { line, what: "not a subject" })
            }
            _ => Err(PolicyTextError { line, what: "not a binding" }),
        })
        .collect()
}

fn lines(text: &str) -> impl Iterator<Item = (usize, Vec<&str>)> {
    text.lines()
        .enumerate()
        .map(|(at, line)| (at + 1, line.split_whitespace().collect::<Vec<_>>()))
        .filter(|(_, words)| words.first().is_some_and(|word| !word.starts_with('#')))
}

fn split_namespace(name: &str) -> (String, String) {
    // Names of cluster objects hold no slash.
    name.split_once('/')
        .map_or_else(|| (String::new(), name.to_owned()), |(ns, name)| (ns.to_owned(), name.to_owned()))
}

fn new_role(name: &str, mark: Option<&str>) -> PolicyRole {
    let (namespace, name) = split_namespace(name);
    PolicyRole { namespace, name, mark: mark.map(str::to_owned), aggregates: None, rules: Vec::new() }
}

fn new_binding(name: &str, role: &str, subjects: &[&str]) -> Option<PolicyBinding> {
    let (namespace, name) = split_namespace(name);
    let subjects = subjects.iter().map(|subject| parse_subject(subject)).collect::<Option<Vec<_>>>()?;
    Some(PolicyBinding { namespace, name, role: role.to_owned(), subjects })
}

fn parse_subject(text: &str) -> Option<PolicySubject> {
    let (kind, name) = text.split_once('=')?;
    match kind {
        "user" => Some(PolicySubject::User(name.to_owned())),
        "group" => Some(PolicySubject::Group(name.to_owned())),
        "serviceaccount" => {
            let (namespace, name) = name.split_once('/')?;
            Some(PolicySubject::ServiceAccount(namespace.to_owned(), name.to_owned()))
        }
        _ => None,
    }
}

fn parse_rule(words: &[&str]) -> Option<PolicyRule> {
    match words {
        [verbs, "url", paths] => {
            Some(PolicyRule { verbs: list(verbs), non_resource_urls: list(paths), ..PolicyRule::default() })
        }
        [verbs, groups, resources, rest @ ..] => {
            let resource_names = match rest {
                [] => Vec::new(),
                [names] => list(names.strip_prefix("names=")?),
                _ => return None,
            };
            let groups = list(groups)
                .into_iter()
                .map(|group| if group == "core" { SmolStr::default() } else { group });
            Some(PolicyRule {
                verbs: list(verbs),
                api_groups: groups.collect(),
                resources: list(resources),
                resource_names,
                non_resource_urls: Vec::new(),
            })
        }
        _ => None,
    }
}

fn events_rule() -> PolicyRule {
    PolicyRule {
        verbs: list("create,patch,update"),
        api_groups: vec![SmolStr::default(), "events.k8s.io".into()],
        resources: list("events"),
        ..PolicyRule::default()
    }
}

fn list(text: &str) -> Vec<SmolStr> {
    text.split(',').map(SmolStr::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_follow_their_role() {
        let text = "# a comment\nrole ns/r mark\nget,list core,apps pods names=a,b\nget url /x,/y/*\n";
        let parsed = parse_roles(text).unwrap();
        let role = &parsed.roles[0];
        assert_eq!(
            (role.namespace.as_str(), role.name.as_str(), role.mark.as_deref()),
            ("ns", "r", Some("mark"))
        );
        assert_eq!(role.rules[0].api_groups, ["", "apps"]);
        assert_eq!(role.rules[0].resource_names, ["a", "b"]);
        assert_eq!(role.rules[1].non_resource_urls, ["/x", "/y/*"]);
    }

    #[test]
    fn lines_that_are_no_rules_are_errors() {
        assert!(parse_roles("get core pods").is_err());
        assert!(parse_roles("role r\nget core").is_err());
        assert!(parse_bindings("b r robot=x").is_err());
    }
}
