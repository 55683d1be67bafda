//! Two pods cannot take the same port of one node.

use crate::events::ClusterEvent;
use crate::framework::{Filter, PreFilter, Rejection};
use crate::state::{PodInfo, Snapshot};

pub(super) struct NodePorts;

impl Filter for NodePorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }

    fn pre_filter<'a>(&'a self, pod: &'a PodInfo, _snapshot: &'a Snapshot) -> PreFilter<'a> {
        if pod.host_ports.is_empty() {
            return PreFilter::Skip;
        }
        PreFilter::Filter(Box::new(move |node| {
            let taken = node.pods.values().flat_map(|other| &other.host_ports);
            for port in taken {
                if pod.host_ports.iter().any(|wanted| wanted.conflicts_with(port)) {
                    return Err(Rejection::because(
                        "node(s) didn't have free ports for the requested pod ports",
                    ));
                }
            }
            Ok(())
        }))
    }

    fn helped_by(&self) -> &'static [ClusterEvent] {
        &[ClusterEvent::NodeAdded, ClusterEvent::PodGone]
    }
}
