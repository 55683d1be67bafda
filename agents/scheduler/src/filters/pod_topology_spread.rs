//! Topology spread constraints with `whenUnsatisfiable: DoNotSchedule`: no domain may have more than `maxSkew` more
//! matching pods than the emptiest one.

use std::collections::{BTreeMap, HashSet};

use k8s_openapi::api::core::v1::{Taint, TopologySpreadConstraint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use mainstay_agents_kit::selector_of;
use mainstay_proto_api::label::Selector;

use super::node_affinity::matches_required;
use super::taint_toleration::tolerates;
use crate::events::ClusterEvent;
use crate::framework::{Filter, PreFilter, Rejection};
use crate::state::{NodeInfo, PodInfo, Snapshot};

pub(super) struct PodTopologySpread;

/// One constraint with the matching pods of each eligible domain.
struct Counted {
    key: String,
    max_skew: i64,
    min_domains: usize,
    selects_itself: bool,
    domains: BTreeMap<String, i64>,
}

impl Filter for PodTopologySpread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }

    fn pre_filter<'a>(&'a self, pod: &'a PodInfo, snapshot: &'a Snapshot) -> PreFilter<'a> {
        let constraints: Vec<&TopologySpreadConstraint> = pod
            .spec()
            .and_then(|spec| spec.topology_spread_constraints.as_ref())
            .into_iter()
            .flatten()
            .filter(|constraint| constraint.when_unsatisfiable == "DoNotSchedule")
            .collect();
        if constraints.is_empty() {
            return PreFilter::Skip;
        }
        let keys: HashSet<String> =
            constraints.iter().map(|constraint| constraint.topology_key.clone()).collect();
        let counted: Vec<Counted> =
            constraints.iter().map(|constraint| count(constraint, &keys, pod, snapshot)).collect();
        PreFilter::Filter(Box::new(move |node| check(&counted, node)))
    }

    fn helped_by(&self) -> &'static [ClusterEvent] {
        &[
            ClusterEvent::NodeAdded,
            ClusterEvent::NodeLabels,
            ClusterEvent::NodeTaints,
            ClusterEvent::PodGone,
            ClusterEvent::PodPlaced,
        ]
    }
}

fn check(counted: &[Counted], node: &NodeInfo) -> Result<(), Rejection> {
    for constraint in counted {
        let Some(domain) = node.labels().and_then(|labels| labels.get(&constraint.key)) else {
            return Err(Rejection::because(
                "node(s) didn't match pod topology spread constraints (missing required label)",
            ));
        };
        let least = if constraint.domains.len() < constraint.min_domains {
            0
        } else {
            constraint.domains.values().copied().min().unwrap_or(0)
        };
        let here = constraint.domains.get(domain).copied().unwrap_or(0);
        if here + i64::from(constraint.selects_itself) - least > constraint.max_skew {
            return Err(Rejection::because("node(s) didn't match pod topology spread constraints"));
        }
    }
    Ok(())
}

fn count(
    constraint: &TopologySpreadConstraint,
    keys: &HashSet<String>,
    pod: &PodInfo,
    snapshot: &Snapshot,
) -> Counted {
    let selector = selector_with_keys(constraint, pod);
    let mut domains = BTreeMap::new();
    for node in snapshot.nodes() {
        let labels = node.labels();
        let has_all_keys = keys.iter().all(|key| labels.is_some_and(|labels| labels.contains_key(key)));
        if !has_all_keys || !is_eligible(constraint, pod, node) {
            continue;
        }
        let Some(domain) = labels.and_then(|labels| labels.get(&constraint.topology_key)) else { continue };
        let matching = node.pods.values().filter(|other| {
            other.key.namespace == pod.key.namespace
                && other.pod.metadata.deletion_timestamp.is_none()
                && selector.matches(&other.pod.metadata.labels)
        });
        let matching = i64::try_from(matching.count()).unwrap_or(i64::MAX);
        *domains.entry(domain.clone()).or_insert(0) += matching;
    }
    Counted {
        key: constraint.topology_key.clone(),
        max_skew: i64::from(constraint.max_skew),
        min_domains: usize::try_from(constraint.min_domains.unwrap_or(1)).unwrap_or(1),
        selects_itself: selector.matches(&pod.pod.metadata.labels),
        domains,
    }
}

/// The constraint's selector with the pod's own values of `matchLabelKeys`. An unusable selector matches nothing.
fn selector_with_keys(constraint: &TopologySpreadConstraint, pod: &PodInfo) -> Selector {
    let Some(mut selector) = constraint.label_selector.clone() else { return Selector::nothing() };
    let LabelSelector { match_labels, .. } = &mut selector;
    for key in constraint.match_label_keys.iter().flatten() {
        if let Some(value) = pod.pod.metadata.labels.as_ref().and_then(|labels| labels.get(key)) {
            match_labels.get_or_insert_default().insert(key.clone(), value.clone());
        }
    }
    selector_of(Some(&selector)).unwrap_or_else(|_refused| Selector::nothing())
}

fn is_eligible(constraint: &TopologySpreadConstraint, pod: &PodInfo, node: &NodeInfo) -> bool {
    let honours_affinity = constraint.node_affinity_policy.as_deref() != Some("Ignore");
    let honours_taints = constraint.node_taints_policy.as_deref() == Some("Honor");
    let keeps_away = |taint: &&Taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute");
    (!honours_affinity || matches_required(pod, node))
        && (!honours_taints || node.taints().iter().filter(keeps_away).all(|taint| tolerates(pod, taint)))
}
