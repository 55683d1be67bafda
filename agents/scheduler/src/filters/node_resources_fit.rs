//! A pod's requests fit what the node's pods leave free.

use crate::events::ClusterEvent;
use crate::framework::{Filter, PreFilter, Rejection};
use crate::state::{PodInfo, Resources, Snapshot};

pub(super) struct NodeResourcesFit;

impl Filter for NodeResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn pre_filter<'a>(&'a self, pod: &'a PodInfo, _snapshot: &'a Snapshot) -> PreFilter<'a> {
        PreFilter::Filter(Box::new(move |node| {
            let mut reasons = Vec::new();
            let pods = i64::try_from(node.pods.len()).unwrap_or(i64::MAX);
            if pods.saturating_add(1) > node.allocatable.get(Resources::PODS) {
                reasons.push("Too many pods".to_owned());
            }
            for (name, wanted) in pod.requests.iter() {
                let free = node.allocatable.get(name).saturating_sub(node.requested.get(name));
                if wanted > 0 && wanted > free {
                    reasons.push(format!("Insufficient {name}"));
                }
            }
            if reasons.is_empty() { Ok(()) } else { Err(Rejection { reasons }) }
        }))
    }

    fn helped_by(&self) -> &'static [ClusterEvent] {
        &[ClusterEvent::NodeAdded, ClusterEvent::NodeAllocatable, ClusterEvent::PodGone]
    }
}
