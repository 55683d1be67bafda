//! `DefaultTolerationSeconds`: pods stay for five minutes on a node that is not ready or not reachable, unless they
//! say otherwise.

use mainstay_apiserver_kinds::POD;
use mainstay_apiserver_machinery::value;
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Status;

use super::step::{Step, Work};
use crate::types::{AdmissionRequest, Operation};

const TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
const SECONDS: i64 = 300;

/// The step.
#[derive(Debug)]
pub struct DefaultTolerations;

impl Step for DefaultTolerations {
    fn mutate<'a>(&'a self, request: &'a mut AdmissionRequest) -> Work<'a, Result<(), Status>> {
        let writes = matches!(request.operation, Operation::Create | Operation::Update);
        if *request.kind == POD && writes && request.subresource.is_empty() {
            add_tolerations(&mut request.object);
        }
        None
    }
}

fn add_tolerations(pod: &mut Value) {
    let mut tolerations = pod.path_list(&["spec", "tolerations"]).to_vec();
    let before = tolerations.len();
    for taint in TAINTS {
        if !tolerations.iter().any(|toleration| tolerates(toleration, taint)) {
            tolerations.push(value!({
                "key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS
            }));
        }
    }
    if tolerations.len() > before {
        pod.set_path(&["spec", "tolerations"], tolerations);
    }
}

/// Whether a toleration speaks of the taint's `NoExecute` effect: by its key, or of all keys.
fn tolerates(toleration: &Value, taint: &str) -> bool {
    let field = |name: &str| toleration.path_str(&[name]).unwrap_or_default();
    (field("key") == taint || field("key").is_empty()) && matches!(field("effect"), "NoExecute" | "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_tolerations_are_kept() {
        let mut pod = value!({"spec": {"tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists"}]}});
        add_tolerations(&mut pod);
        let tolerations = pod.path_list(&["spec", "tolerations"]);
        assert_eq!(tolerations.len(), 2);
        assert_eq!(tolerations[1].path_str(&["key"]), Some("node.kubernetes.io/unreachable"));
        let mut all = value!({"spec": {"tolerations": [{"operator": "Exists"}]}});
        add_tolerations(&mut all);
        assert_eq!(all.path_list(&["spec", "tolerations"]).len(), 1);
    }
}
