//! Required affinity and anti-affinity between pods, in both directions for anti-affinity.

use std::collections::HashSet;

use k8s_openapi::api::core::v1::PodAffinityTerm;
use mainstay_agents_kit::selector_of;
use mainstay_proto_api::label::Selector;

use crate::events::ClusterEvent;
use crate::framework::{Filter, PreFilter, Rejection};
use crate::state::{NodeInfo, PodInfo, Snapshot};

pub(super) struct InterPodAffinity;

/// A term made ready for matching pods.
struct Term {
    selector: Selector,
    /// Empty means every namespace.
    namespaces: HashSet<String>,
    topology_key: String,
}

/// Topology key and value of domains.
type Domains = HashSet<(String, String)>;

impl Filter for InterPodAffinity {
    fn name(&self) -> &'static str {
        "InterPodAffinity"
    }

    fn pre_filter<'a>(&'a self, pod: &'a PodInfo, snapshot: &'a Snapshot) -> PreFilter<'a> {
        let affinity = terms(pod, Side::Affinity);
        let anti_affinity = terms(pod, Side::AntiAffinity);
        if let Some(unsupported) = affinity.iter().chain(&anti_affinity).find_map(|term| term.as_ref().err())
        {
            return PreFilter::Reject(unsupported.clone());
        }
        let affinity: Vec<Term> = affinity.into_iter().flatten().collect();
        let anti_affinity: Vec<Term> = anti_affinity.into_iter().flatten().collect();
        let refused_by_others = domains_refusing(pod, snapshot);
        if affinity.is_empty() && anti_affinity.is_empty() && refused_by_others.is_empty() {
            return PreFilter::Skip;
        }
        // A pod counts for affinity only when it matches all terms.
        let friends =
            domains_of(&affinity, snapshot, |other| affinity.iter().all(|term| term.matches(other)));
        let is_first = friends.is_empty() && affinity.iter().all(|term| term.matches(pod));
        let foes: Domains = anti_affinity
            .iter()
            .flat_map(|term| domains_of(std::slice::from_ref(term), snapshot, |other| term.matches(other)))
            .collect();
        PreFilter::Filter(Box::new(move |node| {
            let domain = |key: &String| node_domain(node, key);
            let has_friends = affinity.iter().all(|term| match domain(&term.topology_key) {
                Some(domain) => is_first || friends.contains(&domain),
                None => false,
            });
            if !has_friends {
                return Err(Rejection::because("node(s) didn't match pod affinity rules"));
            }
            let is_in = |domains: &Domains, key| domain(key).is_some_and(|domain| domains.contains(&domain));
            if anti_affinity.iter().any(|term| is_in(&foes, &term.topology_key)) {
                return Err(Rejection::because("node(s) didn't match pod anti-affinity rules"));
            }
            if refused_by_others.iter().any(|(key, _)| is_in(&refused_by_others, key)) {
                return Err(Rejection::because("node(s) didn't satisfy existing pods anti-affinity rules"));
            }
            Ok(())
        }))
    }

    fn helped_by(&self) -> &'static [ClusterEvent] {
        &[ClusterEvent::NodeAdded, ClusterEvent::NodeLabels, ClusterEvent::PodGone, ClusterEvent::PodPlaced]
    }
}

#[derive(Clone, Copy)]
enum Side {
    Affinity,
    AntiAffinity,
}

impl Term {
    /// # Errors
    /// The term needs what this scheduler does not have.
    fn new(term: &PodAffinityTerm, owner: &PodInfo) -> Result<Self, String> {
        let mut namespaces: HashSet<String> = term.namespaces.iter().flatten().cloned().collect();
        match &term.namespace_selector {
            None if namespaces.is_empty() => drop(namespaces.insert(owner.key.namespace.clone())),
            None => {}
            Some(all) if all.match_labels.is_none() && all.match_expressions.is_none() => namespaces.clear(),
            Some(_) => {
                return Err("pod affinity by namespace labels is not supported by this scheduler".to_owned());
            }
        }
        let mut spec = term.label_selector.clone();
        if let Some(spec) = &mut spec {
            let own =
                |key: &String| owner.pod.metadata.labels.as_ref().and_then(|labels| labels.get(key)).cloned();
            for key in term.match_label_keys.iter().flatten() {
                if let Some(value) = own(key) {
                    spec.match_labels.get_or_insert_default().insert(key.clone(), value);
                }
            }
        }
        let selector = selector_of(spec.as_ref()).map_err(|error| error.to_string())?;
        Ok(Self { selector, namespaces, topology_key: term.topology_key.clone() })
    }

    fn matches(&self, other: &PodInfo) -> bool {
        (self.namespaces.is_empty() || self.namespaces.contains(&other.key.namespace))
            && self.selector.matches(&other.pod.metadata.labels)
    }
}

fn terms(pod: &PodInfo, side: Side) -> Vec<Result<Term, String>> {
    let Some(affinity) = pod.spec().and_then(|spec| spec.affinity.as_ref()) else { return Vec::new() };
    let required = match side {
        Side::Affinity => affinity
            .pod_affinity
            .as_ref()
            .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref()),
        Side::AntiAffinity => affinity
            .pod_anti_affinity
            .as_ref()
            .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref()),
    };
    required.into_iter().flatten().map(|term| Term::new(term, pod)).collect()
}

fn node_domain(node: &NodeInfo, key: &String) -> Option<(String, String)> {
    let value = node.labels()?.get(key)?;
    Some((key.clone(), value.clone()))
}

/// The domains, for the keys of `terms`, of the nodes with a pod that `counts`.
fn domains_of(terms: &[Term], snapshot: &Snapshot, counts: impl Fn(&PodInfo) -> bool) -> Domains {
    let mut domains = Domains::new();
    if terms.is_empty() {
        return domains;
    }
    for node in snapshot.nodes() {
        if node.pods.values().any(|other| counts(other)) {
            domains.extend(terms.iter().filter_map(|term| node_domain(node, &term.topology_key)));
        }
    }
    domains
}

/// The domains whose pods refuse `pod` by their own anti-affinity.
fn domains_refusing(pod: &PodInfo, snapshot: &Snapshot) -> Domains {
    let mut domains = Domains::new();
    for node in snapshot.nodes() {
        for other in node.pods.values() {
            for term in terms(other, Side::AntiAffinity).into_iter().flatten() {
                if term.matches(pod) {
                    domains.extend(node_domain(node, &term.topology_key));
                }
            }
        }
    }
    domains
}
