//! `NodeDeclaredFeatureValidator`: a change of a pod that needs something of its node is refused where the node does not
//! say that it has it (`status.declaredFeatures`).

use mainstay_apiserver_kinds::{NODE, POD};
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::{Quantity, Status};

use super::step::{Step, Work, at_once, refuse};
use crate::registry::Registry;
use crate::types::{AdmissionRequest, Operation};

/// Whether a change from one pod to another needs a feature.
type Needs = fn(&Value, &Value) -> bool;

/// The features that an update can need (kube-apiserver 1.36), by name.
const FEATURES: [(&str, Needs); 2] = [
    ("GuaranteedQoSPodCPUResize", resizes_guaranteed_cpu),
    ("InPlacePodLevelResourcesVerticalScaling", resizes_the_pod),
];

/// The step.
pub struct DeclaredFeatures {
    registry: Registry,
}

impl DeclaredFeatures {
    /// The step over the cluster's nodes.
    pub fn new(registry: Registry) -> Self {
        Self { registry }
    }

    fn check(&self, request: &AdmissionRequest) -> Result<(), Status> {
        let is_change = *request.kind == POD
            && request.operation == Operation::Update
            && matches!(request.subresource.as_str(), "" | "resize");
        let pod = &request.object;
        let name = pod.path_str(&["spec", "nodeName"]).unwrap_or_default();
        let Some(old) = request.old.as_ref().filter(|_| is_change && !name.is_empty()) else { return Ok(()) };
        let generation = |pod: &Value| pod.path_i64(&["metadata", "generation"]);
        // A generation counts changes of the spec.
        if generation(old) == generation(pod) {
            return Ok(());
        }
        let needed = needed(old, pod);
        if needed.is_empty() {
            return Ok(());
        }
        let Some(node) = self.registry.get(&NODE, "", name) else {
            return Err(refuse(request, format!("node {name:?} not found")));
        };
        let node = self.registry.decode_served(&NODE, &node)?;
        let declared = node.path_list(&["status", "declaredFeatures"]);
        let lacks: Vec<_> =
            needed.into_iter().filter(|one| !declared.iter().any(|it| it.as_str() == Some(one))).collect();
        if lacks.is_empty() {
            return Ok(());
        }
        let lacks = lacks.join(", ");
        let why = format!("pod update requires features {lacks} which are not available on node {name:?}");
        Err(refuse(request, why))
    }
}

impl Step for DeclaredFeatures {
    fn validate<'a>(&'a self, request: &'a AdmissionRequest) -> Work<'a, Result<(), Status>> {
        at_once(self.check(request))
    }
}

/// What the change needs. Pure.
fn needed(old: &Value, new: &Value) -> Vec<&'static str> {
    FEATURES.iter().filter(|(_, needs)| needs(old, new)).map(|(name, _)| *name).collect()
}

/// Whether a container of a pod whose resources are guaranteed asks for another amount of CPU.
fn resizes_guaranteed_cpu(old: &Value, new: &Value) -> bool {
    let cpu = |container: &Value| -> Quantity {
        let text = container.path_str(&["resources", "requests", "cpu"]);
        text.and_then(|text| text.parse().ok()).unwrap_or_default()
    };
    let containers =
        |pod: &Value| -> Vec<Quantity> { pod.path_list(&["spec", "containers"]).iter().map(cpu).collect() };
    old.path_str(&["status", "qosClass"]) == Some("Guaranteed")
        && containers(old).iter().zip(containers(new)).any(|(old, new)| *old != new)
}

/// Whether the resources of the pod as a whole change.
fn resizes_the_pod(old: &Value, new: &Value) -> bool {
    let amounts = |pod: &Value, side: &str| super::pod_amounts::amounts(pod, &["spec", "resources", side]);
    ["requests", "limits"].iter().any(|side| amounts(old, side) != amounts(new, side))
}

#[cfg(test)]
mod tests {
    use mainstay_apiserver_machinery::value;

    use super::*;

    fn pod(class: &str, cpu: &str, whole: &str) -> Value {
        value!({"spec": {"resources": {"requests": {"cpu": whole}},
            "containers": [{"resources": {"requests": {"cpu": cpu, "memory": "1Gi"}}}]}, "status": {"qosClass": class}})
    }

    #[test]
    fn only_changes_of_amounts_need_something_of_the_node() {
        let guaranteed = pod("Guaranteed", "1", "2");
        assert_eq!(needed(&guaranteed, &pod("Guaranteed", "1000m", "2")), Vec::<&str>::new());
        assert_eq!(needed(&guaranteed, &pod("Guaranteed", "1500m", "2")), ["GuaranteedQoSPodCPUResize"]);
        assert_eq!(needed(&pod("Burstable", "1", "2"), &pod("Burstable", "2", "2")), Vec::<&str>::new());
        assert_eq!(
            needed(&guaranteed, &pod("Guaranteed", "2", "3")),
            ["GuaranteedQoSPodCPUResize", "InPlacePodLevelResourcesVerticalScaling"]
        );
    }
}
