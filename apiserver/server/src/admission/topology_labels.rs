//! `PodTopologyLabels`: a pod gets the zone and the region of its node as labels, when it is bound or made with a node. Labels
//! that it has stay.

use mainstay_apiserver_kinds::{NODE, POD};
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Status;

use super::step::{Step, Work};
use crate::registry::Registry;
use crate::types::{AdmissionRequest, Operation};

/// The labels that are passed on.
const LABELS: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

/// The step.
pub struct TopologyLabels {
    registry: Registry,
}

impl TopologyLabels {
    /// The step over the cluster's nodes.
    pub fn new(registry: Registry) -> Self {
        Self { registry }
    }

    fn add(&self, request: &mut AdmissionRequest) {
        if *request.kind != POD || request.operation != Operation::Create {
            return;
        }
        let object = &request.object;
        let node = match request.subresource.as_str() {
            "" => object.path_str(&["spec", "nodeName"]),
            "binding" if object.path_str(&["target", "kind"]) == Some("Node") => {
                object.path_str(&["target", "name"])
            }
            _ => None,
        };
        // As upstream, a node that is not there passes nothing on.
        let node = node.filter(|name| !name.is_empty()).and_then(|name| self.registry.get(&NODE, "", name));
        if let Some(node) = node {
            pass_on(&mut request.object, |key| {
                node.header.labels.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
            });
        }
    }
}

/// Adds the labels that `of_node` knows and the object has not. Pure.
fn pass_on<'n>(object: &mut Value, of_node: impl Fn(&str) -> Option<&'n str>) {
    for key in LABELS {
        let has = object.path(&["metadata", "labels"]).is_some_and(|labels| labels.get(key).is_some());
        if let (false, Some(value)) = (has, of_node(key)) {
            let metadata = object.make_map().get_or_insert_map("metadata");
            metadata.get_or_insert_map("labels").insert(key, value);
        }
    }
}

impl Step for TopologyLabels {
    fn mutate<'a>(&'a self, request: &'a mut AdmissionRequest) -> Work<'a, Result<(), Status>> {
        self.add(request);
        None
    }
}

#[cfg(test)]
mod tests {
    use mainstay_apiserver_machinery::value;

    use super::*;

    #[test]
    fn labels_that_are_there_stay() {
        let mut pod = value!({"metadata": {"labels": {"topology.kubernetes.io/zone": "mine"}}});
        pass_on(&mut pod, |_| Some("the node's"));
        assert_eq!(
            pod,
            value!({"metadata": {"labels": {
            "topology.kubernetes.io/zone": "mine", "topology.kubernetes.io/region": "the node's"}}})
        );
    }
}
