//! A pod that names its node goes nowhere else.

use crate::events::ClusterEvent;
use crate::framework::{Filter, PreFilter, Rejection};
use crate::state::{PodInfo, Snapshot};

pub(super) struct NodeName;

impl Filter for NodeName {
    fn name(&self) -> &'static str {
        "NodeName"
    }

    fn pre_filter<'a>(&'a self, pod: &'a PodInfo, _snapshot: &'a Snapshot) -> PreFilter<'a> {
        let Some(wanted) = pod.node_name() else { return PreFilter::Skip };
        PreFilter::Filter(Box::new(move |node| {
            if node.name() == wanted {
                Ok(())
            } else {
                Err(Rejection::because("node(s) didn't match the requested node name"))
            }
        }))
    }

    fn helped_by(&self) -> &'static [ClusterEvent] {
        &[ClusterEvent::NodeAdded]
    }
}
