//! `PodResizeValidator`: a pod that runs does not grow beyond what its node can give, and only on Linux.

use mainstay_apiserver_kinds::{NODE, POD};
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Status;

use super::pod_amounts::{Side, amounts, of_pod};
use super::step::{Step, Work, at_once, refuse};
use crate::registry::Registry;
use crate::types::{AdmissionRequest, Operation};

/// The label with a node's operating system.
const OS: &str = "kubernetes.io/os";

/// The step.
pub struct PodResize {
    registry: Registry,
}

impl PodResize {
    /// The step over the cluster's nodes.
    pub fn new(registry: Registry) -> Self {
        Self { registry }
    }

    fn check(&self, request: &AdmissionRequest) -> Result<(), Status> {
        let is_resize =
            *request.kind == POD && request.operation == Operation::Update && request.subresource == "resize";
        let name = request.object.path_str(&["spec", "nodeName"]).unwrap_or_default();
        let generation = |pod: &Value| pod.path_i64(&["metadata", "generation"]);
        let changes = request.old.as_ref().is_some_and(|old| generation(old) != generation(&request.object));
        if !is_resize || name.is_empty() || !changes {
            return Ok(());
        }
        let Some(found) = self.registry.get(&NODE, "", name) else {
            return Err(refuse(request, format!("node {name:?} not found")));
        };
        let node = self.registry.decode_served(&NODE, &found)?;
        refusal(&request.object, &node, name).map_or(Ok(()), |why| Err(refuse(request, why)))
    }
}

/// Upstream's text about what the node cannot give. Pure.
fn refusal(pod: &Value, node: &Value, name: &str) -> Option<String> {
    let wanted = of_pod(pod.get("spec").unwrap_or(&Value::Null), Side::Requests);
    let given = amounts(node, &["status", "allocatable"]);
    let mut lacks = Vec::new();
    for resource in ["cpu", "memory"] {
        let amount = |of: &super::pod_amounts::Amounts| {
            let found = of.get(resource).copied().unwrap_or_default();
            if resource == "cpu" { found.milli_value() } else { found.value() }
        };
        let (requested, allocatable) = (amount(&wanted), amount(&given));
        if requested > allocatable {
            lacks.push(format!("{resource}, requested: {requested}, allocatable: {allocatable}"));
        }
    }
    if !lacks.is_empty() {
        return Some(format!("Node didn't have enough allocatable resources: {}", lacks.join("; ")));
    }
    let os =
        node.path(&["metadata", "labels"]).and_then(|labels| labels.get(OS)?.as_str()).unwrap_or_default();
    (os != "linux").then(|| format!("pod resize is only supported on linux nodes, node {name:?} is {os:?}"))
}

impl Step for PodResize {
    fn validate<'a>(&'a self, request: &'a AdmissionRequest) -> Work<'a, Result<(), Status>> {
        at_once(self.check(request))
    }
}

#[cfg(test)]
mod tests {
    use mainstay_apiserver_machinery::value;

    use super::*;

    #[test]
    fn a_pod_grows_within_its_node_only() {
        let pod = |cpu: &str| value!({"spec": {"containers": [{"resources": {"requests": {"cpu": cpu, "memory": "2Gi"}}}]}});
        let node = |os: &str| {
            value!({"metadata": {"labels": {"kubernetes.io/os": os}},
            "status": {"allocatable": {"cpu": "2", "memory": "4Gi"}}})
        };
        assert_eq!(refusal(&pod("1500m"), &node("linux"), "n"), None);
        assert_eq!(
            refusal(&pod("2500m"), &node("linux"), "n").unwrap(),
            "Node didn't have enough allocatable resources: cpu, requested: 2500, allocatable: 2000"
        );
        assert_eq!(
            refusal(&pod("1"), &node("windows"), "n").unwrap(),
            "pod resize is only supported on linux nodes, node \"n\" is \"windows\""
        );
    }
}
