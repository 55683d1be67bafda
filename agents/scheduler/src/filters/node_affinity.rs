//! nodeSelector and the required node affinity.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm, PreferredSchedulingTerm};

use crate::events::ClusterEvent;
use crate::framework::{Filter, PreFilter, Rejection};
use crate::state::{NodeInfo, PodInfo, Snapshot};

pub(super) struct NodeAffinity;

impl Filter for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn pre_filter<'a>(&'a self, pod: &'a PodInfo, _snapshot: &'a Snapshot) -> PreFilter<'a> {
        let selector = pod.spec().and_then(|spec| spec.node_selector.as_ref()).filter(|map| !map.is_empty());
        if selector.is_none() && required_terms(pod).is_none() {
            return PreFilter::Skip;
        }
        PreFilter::Filter(Box::new(move |node| {
            if matches_required(pod, node) {
                Ok(())
            } else {
                Err(Rejection::because("node(s) didn't match Pod's node affinity/selector"))
            }
        }))
    }

    fn helped_by(&self) -> &'static [ClusterEvent] {
        &[ClusterEvent::NodeAdded, ClusterEvent::NodeLabels]
    }
}

/// Whether the node meets the pod's nodeSelector and required node affinity.
pub(super) fn matches_required(pod: &PodInfo, node: &NodeInfo) -> bool {
    let selector = pod.spec().and_then(|spec| spec.node_selector.as_ref());
    let labels = node.labels();
    let has = |(key, value): (&String, &String)| labels.and_then(|labels| labels.get(key)) == Some(value);
    selector.into_iter().flatten().all(has)
        && required_terms(pod).is_none_or(|terms| terms.iter().any(|term| matches_term(term, node)))
}

/// The terms of the pod's preferred node affinity.
pub(crate) fn preferred_terms(pod: &PodInfo) -> &[PreferredSchedulingTerm] {
    pod.spec()
        .and_then(|spec| spec.affinity.as_ref()?.node_affinity.as_ref())
        .and_then(|affinity| affinity.preferred_during_scheduling_ignored_during_execution.as_deref())
        .unwrap_or_default()
}

/// Whether the node meets all requirements of a term; a term without any matches no node.
pub(crate) fn matches_term(term: &NodeSelectorTerm, node: &NodeInfo) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    let name = BTreeMap::from([("metadata.name".to_owned(), node.name().to_owned())]);
    expressions.iter().all(|requirement| meets(requirement, node.labels()))
        && fields.iter().all(|requirement| meets(requirement, Some(&name)))
}

fn required_terms(pod: &PodInfo) -> Option<&[NodeSelectorTerm]> {
    let affinity = pod.spec()?.affinity.as_ref()?.node_affinity.as_ref()?;
    Some(&affinity.required_during_scheduling_ignored_during_execution.as_ref()?.node_selector_terms)
}

fn meets(requirement: &NodeSelectorRequirement, labels: Option<&BTreeMap<String, String>>) -> bool {
    let value = labels.and_then(|labels| labels.get(&requirement.key));
    let values = requirement.values.as_deref().unwrap_or_default();
    let number = |text: &String| text.parse::<i64>().ok();
    match requirement.operator.as_str() {
        "In" => value.is_some_and(|value| values.contains(value)),
        "NotIn" => value.is_none_or(|value| !values.contains(value)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => value
            .and_then(number)
            .zip(values.first().and_then(number))
            .is_some_and(|(has, bound)| has > bound),
        "Lt" => value
            .and_then(number)
            .zip(values.first().and_then(number))
            .is_some_and(|(has, bound)| has < bound),
        _ => false,
    }
}
