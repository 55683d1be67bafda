//! A taint keeps away the pods that do not tolerate it.

use k8s_openapi::api::core::v1::{Taint, Toleration};

use crate::events::ClusterEvent;
use crate::framework::{Filter, PreFilter, Rejection};
use crate::state::{PodInfo, Snapshot};

pub(super) struct TaintToleration;

impl Filter for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn pre_filter<'a>(&'a self, pod: &'a PodInfo, _snapshot: &'a Snapshot) -> PreFilter<'a> {
        PreFilter::Filter(Box::new(move |node| {
            let keeps_away = |taint: &&Taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute");
            if node.taints().iter().filter(keeps_away).all(|taint| tolerates(pod, taint)) {
                Ok(())
            } else {
                Err(Rejection::because("node(s) had untolerated taint(s)"))
            }
        }))
    }

    fn helped_by(&self) -> &'static [ClusterEvent] {
        &[ClusterEvent::NodeAdded, ClusterEvent::NodeTaints]
    }
}

/// Whether one of the pod's tolerations covers the taint.
pub(crate) fn tolerates(pod: &PodInfo, taint: &Taint) -> bool {
    let tolerations = pod.spec().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
    tolerations.iter().any(|toleration| covers(toleration, taint))
}

fn covers(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or_default();
    let key = toleration.key.as_deref().unwrap_or_default();
    let value = toleration.value.as_deref().unwrap_or_default();
    let taint_value = taint.value.as_deref().unwrap_or_default();
    if !effect.is_empty() && effect != taint.effect {
        return false;
    }
    if !key.is_empty() && key != taint.key {
        return false;
    }
    match toleration.operator.as_deref().unwrap_or_default() {
        "" | "Equal" => !key.is_empty() && value == taint_value,
        "Exists" => true,
        "Lt" => compare(taint_value, value).is_some_and(std::cmp::Ordering::is_lt),
        "Gt" => compare(taint_value, value).is_some_and(std::cmp::Ordering::is_gt),
        _ => false,
    }
}

fn compare(taint_value: &str, value: &str) -> Option<std::cmp::Ordering> {
    Some(taint_value.parse::<i64>().ok()?.cmp(&value.parse::<i64>().ok()?))
}
