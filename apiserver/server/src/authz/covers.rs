//! Whether a user's rules cover others: nobody may grant what they do not hold.
//!
//! Each rule is taken apart into single permissions; each of those must be covered by one rule of the owner.

use std::collections::BTreeMap;

use smol_str::SmolStr;

use super::rule::{PolicyRule, url_matches};

/// How many single permissions one check takes apart.
pub const PERMISSIONS_MAX: usize = 200_000;

/// What the owner lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Coverage {
    /// Nothing.
    Covered,
    /// These, compacted and sorted.
    Missing(Vec<PolicyRule>),
    /// The rules hold more than [`PERMISSIONS_MAX`] single permissions; they count as not held.
    TooMany,
}

/// Compares the owner's rules with those wanted.
pub fn covers(owner: &[PolicyRule], wanted: &[PolicyRule]) -> Coverage {
    if wanted.iter().map(permissions).fold(0_usize, usize::saturating_add) > PERMISSIONS_MAX {
        return Coverage::TooMany;
    }
    let missing: Vec<PolicyRule> = wanted
        .iter()
        .filter(|rule| !owner.iter().any(|held| rule_covers(held, rule)))
        .flat_map(breakdown)
        .filter(|single| !owner.iter().any(|held| rule_covers(held, single)))
        .collect();
    if missing.is_empty() { Coverage::Covered } else { Coverage::Missing(compact(missing)) }
}

fn permissions(rule: &PolicyRule) -> usize {
    let names = rule.resource_names.len().max(1);
    let on_resources = [rule.api_groups.len(), rule.resources.len(), names]
        .into_iter()
        .fold(rule.verbs.len(), usize::saturating_mul);
    on_resources.saturating_add(rule.non_resource_urls.len().saturating_mul(rule.verbs.len()))
}

fn breakdown(rule: &PolicyRule) -> Vec<PolicyRule> {
    let mut singles = Vec::with_capacity(permissions(rule));
    for group in &rule.api_groups {
        for resource in &rule.resources {
            for verb in &rule.verbs {
                let single = PolicyRule {
                    api_groups: vec![group.clone()],
                    resources: vec![resource.clone()],
                    verbs: vec![verb.clone()],
                    ..PolicyRule::default()
                };
                if rule.resource_names.is_empty() {
                    singles.push(single);
                } else {
                    singles.extend(
                        rule.resource_names
                            .iter()
                            .map(|name| PolicyRule { resource_names: vec![name.clone()], ..single.clone() }),
                    );
                }
            }
        }
    }
    for url in &rule.non_resource_urls {
        singles.extend(rule.verbs.iter().map(|verb| PolicyRule {
            non_resource_urls: vec![url.clone()],
            verbs: vec![verb.clone()],
            ..PolicyRule::default()
        }));
    }
    singles
}

fn rule_covers(owner: &PolicyRule, wanted: &PolicyRule) -> bool {
    let names = owner.resource_names.is_empty()
        || (!wanted.resource_names.is_empty() && has_all(&owner.resource_names, &wanted.resource_names));
    let urls = wanted
        .non_resource_urls
        .iter()
        .all(|url| owner.non_resource_urls.iter().any(|held| url_matches(held, url)));
    set_covers(&owner.verbs, &wanted.verbs)
        && set_covers(&owner.api_groups, &wanted.api_groups)
        && resources_cover(&owner.resources, &wanted.resources)
        && names
        && urls
}

fn set_covers(owner: &[SmolStr], wanted: &[SmolStr]) -> bool {
    owner.iter().any(|held| held == "*") || has_all(owner, wanted)
}

fn has_all(owner: &[SmolStr], wanted: &[SmolStr]) -> bool {
    wanted.iter().all(|item| owner.contains(item))
}

fn resources_cover(owner: &[SmolStr], wanted: &[SmolStr]) -> bool {
    if owner.iter().any(|held| held == "*") {
        return true;
    }
    wanted.iter().all(|resource| {
        owner.contains(resource)
            || resource
                .split_once('/')
                .is_some_and(|(_, sub)| owner.iter().any(|held| held.strip_prefix("*/") == Some(sub)))
    })
}

/// Joins single permissions that differ only in their verb, then sorts.
fn compact(singles: Vec<PolicyRule>) -> Vec<PolicyRule> {
    let mut by_object: BTreeMap<PolicyRule, Vec<SmolStr>> = BTreeMap::new();
    for mut single in singles {
        let verbs = std::mem::take(&mut single.verbs);
        let held = by_object.entry(single).or_default();
        held.extend(verbs.into_iter().filter(|verb| !held.contains(verb)).collect::<Vec<_>>());
    }
    by_object.into_iter().map(|(rule, verbs)| PolicyRule { verbs, ..rule }).collect()
}

/// One rule as upstream prints it in the refusal.
pub fn describe(rule: &PolicyRule) -> String {
    let fields = [
        ("APIGroups", &rule.api_groups),
        ("Resources", &rule.resources),
        ("NonResourceURLs", &rule.non_resource_urls),
        ("ResourceNames", &rule.resource_names),
        ("Verbs", &rule.verbs),
    ];
    let parts: Vec<String> = fields
        .into_iter()
        .filter(|(_, items)| !items.is_empty())
        .map(|(name, items)| format!("{name}:{}", quoted(items)))
        .collect();
    format!("{{{}}}", parts.join(", "))
}

/// A list as Go's `%q` prints it: `["a" "b"]`.
pub fn quoted(items: &[SmolStr]) -> String {
    let items: Vec<String> = items.iter().map(|item| format!("{:?}", item.as_str())).collect();
    format!("[{}]", items.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(items: &[&str]) -> Vec<SmolStr> {
        items.iter().map(|item| SmolStr::from(*item)).collect()
    }

    fn rule(verbs: &[&str], groups: &[&str], resources: &[&str], names: &[&str]) -> PolicyRule {
        PolicyRule {
            verbs: list(verbs),
            api_groups: list(groups),
            resources: list(resources),
            resource_names: list(names),
            non_resource_urls: Vec::new(),
        }
    }

    #[test]
    fn several_rules_together_cover_one() {
        let owner = [rule(&["get"], &[""], &["pods"], &[]), rule(&["list"], &["", "apps"], &["*"], &[])];
        assert_eq!(covers(&owner, &[rule(&["get", "list"], &[""], &["pods"], &[])]), Coverage::Covered);
        let Coverage::Missing(missing) =
            covers(&owner, &[rule(&["get", "list"], &[""], &["pods", "secrets"], &[])])
        else {
            panic!("secrets are not held");
        };
        assert_eq!(
            missing.iter().map(describe).collect::<Vec<_>>(),
            [r#"{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}"#]
        );
    }

    #[test]
    fn names_urls_and_subresources_are_compared() {
        let named = [rule(&["get"], &[""], &["secrets"], &["a"])];
        assert_eq!(covers(&named, &[rule(&["get"], &[""], &["secrets"], &["a"])]), Coverage::Covered);
        assert!(matches!(covers(&named, &[rule(&["get"], &[""], &["secrets"], &[])]), Coverage::Missing(_)));
        let scale = [rule(&["get"], &["apps"], &["*/scale"], &[])];
        assert_eq!(
            covers(&scale, &[rule(&["get"], &["apps"], &["deployments/scale"], &[])]),
            Coverage::Covered
        );
        let url = |url: &str| PolicyRule {
            verbs: list(&["get"]),
            non_resource_urls: list(&[url]),
            ..PolicyRule::default()
        };
        assert_eq!(covers(&[url("/logs/*")], &[url("/logs/kube")]), Coverage::Covered);
        assert!(matches!(covers(&[url("/logs/kube")], &[url("/logs/*")]), Coverage::Missing(_)));
    }

    #[test]
    fn a_star_is_covered_only_by_a_star() {
        let all = rule(&["*"], &["*"], &["*"], &[]);
        assert!(matches!(
            covers(&[rule(&["get"], &["*"], &["*"], &[])], std::slice::from_ref(&all)),
            Coverage::Missing(_)
        ));
        assert_eq!(
            covers(std::slice::from_ref(&all), &[rule(&["get"], &["x"], &["y/z"], &["n"])]),
            Coverage::Covered
        );
    }

    #[test]
    fn a_product_that_explodes_counts_as_not_held() {
        let many: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(covers(&[], &[rule(&many, &many, &many, &[])]), Coverage::TooMany);
    }
}
