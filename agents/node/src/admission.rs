//! Whether the node takes a pod that was bound to it. Pure; reasons and texts are upstream's.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, NodeSelectorTerm, Pod, Taint, Toleration};

use crate::spec::resources::pod_requests;
use crate::worker::Failure;

/// What admission knows of the node.
#[derive(Debug, Clone, Default)]
pub(crate) struct NodeView {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub taints: Vec<Taint>,
    /// CPU in thousandths, the rest in whole units.
    pub allocatable: BTreeMap<String, i64>,
}

impl NodeView {
    /// The view of a Node object.
    pub(crate) fn of(node: &Node, allocatable: BTreeMap<String, i64>) -> Self {
        Self {
            name: node.metadata.name.clone().unwrap_or_default(),
            labels: node.metadata.labels.clone().unwrap_or_default(),
            taints: node.spec.as_ref().and_then(|s| s.taints.clone()).unwrap_or_default(),
            allocatable,
        }
    }
}

/// Refuses a pod that does not fit the node beside `others`.
pub(crate) fn admit(pod: &Pod, others: &[&Pod], node: &NodeView) -> Result<(), Failure> {
    fits_affinity(pod, node)?;
    fits_taints(pod, node)?;
    fits_app_armor(pod)?;
    fits_resources(pod, others, node)
}

fn refuse(reason: &str, message: &str) -> Failure {
    Failure { reason: reason.to_owned(), message: format!("Pod was rejected: {message}") }
}

fn active(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    !matches!(phase, Some("Succeeded" | "Failed"))
}

fn fits_resources(pod: &Pod, others: &[&Pod], node: &NodeView) -> Result<(), Failure> {
    let others: Vec<_> = others.iter().filter(|p| active(p)).collect();
    let unreadable =
        |e: crate::spec::quantity::QuantityError| refuse("UnexpectedAdmissionError", &e.to_string());
    let requests = pod_requests(pod).map_err(unreadable)?;
    let pods = node.allocatable.get("pods").copied().unwrap_or(i64::MAX);
    let used = i64::try_from(others.len()).unwrap_or(i64::MAX);
    if used >= pods {
        return Err(out_of("pods", 1, used, pods));
    }
    for (name, wanted) in requests.iter().filter(|(_, wanted)| **wanted > 0) {
        let capacity = node.allocatable.get(name).copied().unwrap_or(0);
        let used: i64 = others
            .iter()
            .filter_map(|p| pod_requests(p).ok())
            .map(|r| r.get(name).copied().unwrap_or(0))
            .fold(0, i64::saturating_add);
        if used.saturating_add(*wanted) > capacity {
            return Err(out_of(name, *wanted, used, capacity));
        }
    }
    Ok(())
}

fn out_of(name: &str, wanted: i64, used: i64, capacity: i64) -> Failure {
    refuse(
        &format!("OutOf{name}"),
        &format!(
            "Node didn't have enough resource: {name}, requested: {wanted}, used: {used}, capacity: {capacity}"
        ),
    )
}

fn fits_taints(pod: &Pod, node: &NodeView) -> Result<(), Failure> {
    let tolerations = pod.spec.as_ref().and_then(|s| s.tolerations.as_deref()).unwrap_or_default();
    // As upstream's kubelet: only NoExecute matters here, NoSchedule is the scheduler's.
    let hard = node.taints.iter().filter(|t| t.effect == "NoExecute");
    for taint in hard {
        if !tolerations.iter().any(|t| tolerates(t, taint)) {
            return Err(refuse(
                "TaintToleration",
                "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate",
            ));
        }
    }
    Ok(())
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let key = toleration.key.as_deref().unwrap_or_default();
    let effect = toleration.effect.as_deref().unwrap_or_default();
    let value = toleration.value.as_deref().unwrap_or_default();
    (effect.is_empty() || effect == taint.effect)
        && (key.is_empty() || key == taint.key)
        && match toleration.operator.as_deref().unwrap_or("Equal") {
            "Exists" => true,
            _ => !key.is_empty() && value == taint.value.as_deref().unwrap_or_default(),
        }
}

/// This node's runtime loads no `AppArmor` profiles: a pod that asks for one must not run without it.
fn fits_app_armor(pod: &Pod) -> Result<(), Failure> {
    let spec = pod.spec.as_ref();
    let shared = spec.and_then(|s| s.security_context.as_ref()).and_then(|s| s.app_armor_profile.as_ref());
    let all = crate::spec::containers::all(pod);
    let own = all
        .iter()
        .filter_map(|c| c.container.security_context.as_ref().and_then(|s| s.app_armor_profile.as_ref()));
    if own.chain(shared).any(|profile| profile.type_ != "Unconfined") {
        let message = "Cannot enforce AppArmor: AppArmor is not enabled on the host".to_owned();
        return Err(Failure { reason: "AppArmor".to_owned(), message });
    }
    Ok(())
}

fn fits_affinity(pod: &Pod, node: &NodeView) -> Result<(), Failure> {
    let spec = pod.spec.as_ref();
    let selector = spec.and_then(|s| s.node_selector.as_ref()).into_iter().flatten();
    let selected = selector.into_iter().all(|(key, value)| node.labels.get(key) == Some(value));
    let required = spec
        .and_then(|s| s.affinity.as_ref())
        .and_then(|a| a.node_affinity.as_ref())
        .and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    let liked = required.is_none_or(|r| r.node_selector_terms.iter().any(|term| term_matches(term, node)));
    if selected && liked {
        return Ok(());
    }
    Err(refuse(
        "NodeAffinity",
        "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
    ))
}

fn term_matches(term: &NodeSelectorTerm, node: &NodeView) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    let holds = |value: Option<&str>, operator: &str, values: &[String]| match operator {
        "In" => value.is_some_and(|v| values.iter().any(|w| w == v)),
        "NotIn" => value.is_none_or(|v| !values.iter().any(|w| w == v)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" | "Lt" => {
            let pair =
                value.and_then(|v| v.parse::<i64>().ok()).zip(values.first().and_then(|v| v.parse().ok()));
            pair.is_some_and(|(v, w): (i64, i64)| if operator == "Gt" { v > w } else { v < w })
        }
        _ => false,
    };
    expressions.iter().all(|e| {
        let value = node.labels.get(&e.key).map(String::as_str);
        holds(value, &e.operator, e.values.as_deref().unwrap_or_default())
    }) && fields.iter().all(|e| {
        let value = (e.key == "metadata.name").then_some(node.name.as_str());
        holds(value, &e.operator, e.values.as_deref().unwrap_or_default())
    })
}
