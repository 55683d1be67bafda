//! `TaintNodesByCondition`: a new node starts with the taint of a node that is not ready, so that nothing is placed
//! on it before its first heartbeat.

use mainstay_apiserver_kinds::NODE;
use mainstay_apiserver_machinery::value;
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Status;

use super::step::{Step, Work};
use crate::types::{AdmissionRequest, Operation};

const NOT_READY: &str = "node.kubernetes.io/not-ready";

/// The step.
#[derive(Debug)]
pub struct NodeTaint;

impl Step for NodeTaint {
    fn mutate<'a>(&'a self, request: &'a mut AdmissionRequest) -> Work<'a, Result<(), Status>> {
        if *request.kind == NODE && request.operation == Operation::Create && request.subresource.is_empty() {
            add_taint(&mut request.object);
        }
        None
    }
}

fn add_taint(node: &mut Value) {
    let held = |taint: &Value| {
        taint.path_str(&["key"]) == Some(NOT_READY) && taint.path_str(&["effect"]) == Some("NoSchedule")
    };
    let mut taints = node.path_list(&["spec", "taints"]).to_vec();
    if taints.iter().any(held) {
        return;
    }
    taints.push(value!({"key": NOT_READY, "effect": "NoSchedule"}));
    node.set_path(&["spec", "taints"], taints);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_taint_is_added_once() {
        let mut node = value!({"spec": {"taints": [{"key": "mine", "effect": "NoExecute"}]}});
        add_taint(&mut node);
        add_taint(&mut node);
        assert_eq!(node.path_list(&["spec", "taints"]).len(), 2);
    }
}
