//! `RuntimeClass`: a pod pays the overhead of its runtime class and is placed where the class says.

use mainstay_apiserver_kinds::{POD, RUNTIME_CLASS};
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Status;

use super::pod_amounts::amounts;
use super::step::{Step, Work, refuse};
use crate::registry::Registry;
use crate::types::{AdmissionRequest, Operation};

/// The step.
pub struct RuntimeClass {
    registry: Registry,
}

impl RuntimeClass {
    /// The step over the cluster's runtime classes.
    pub fn new(registry: Registry) -> Self {
        Self { registry }
    }

    /// The class that the pod names; none when it names none.
    async fn class(&self, request: &AdmissionRequest) -> Result<Option<Value>, Status> {
        let Some(name) =
            request.object.path_str(&["spec", "runtimeClassName"]).filter(|name| !name.is_empty())
        else {
            return Ok(None);
        };
        let found = self.registry.get_fresh(&RUNTIME_CLASS, "", name).await?;
        let Some(found) = found else {
            return Err(refuse(request, format!("pod rejected: RuntimeClass {name:?} not found")));
        };
        self.registry.decode_served(&RUNTIME_CLASS, &found).map(Some)
    }
}

fn concerns(request: &AdmissionRequest) -> bool {
    *request.kind == POD && request.operation == Operation::Create && request.subresource.is_empty()
}

/// Gives the pod what its class says.
fn apply(pod: &mut Value, class: &Value) -> Result<(), String> {
    let fixed = class.path(&["overhead", "podFixed"]);
    if let Some(fixed) = fixed {
        let stated = amounts(pod, &["spec", "overhead"]);
        if !stated.is_empty() && stated != amounts(class, &["overhead", "podFixed"]) {
            return Err(
                "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead".to_owned()
            );
        }
        pod.set_path(&["spec", "overhead"], fixed);
    }
    for (key, wanted) in class.path_map(&["scheduling", "nodeSelector"]).into_iter().flatten() {
        let wanted = wanted.as_str().unwrap_or_default();
        let stated = pod.path_str(&["spec", "nodeSelector", key]);
        if let Some(stated) = stated.filter(|stated| *stated != wanted) {
            return Err(format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {wanted}; pod.spec.nodeSelector[{key}] = {stated}"
            ));
        }
        pod.set_path(&["spec", "nodeSelector", key], wanted);
    }
    let tolerations = class.path_list(&["scheduling", "tolerations"]);
    if !tolerations.is_empty() {
        let mut all = pod.path_list(&["spec", "tolerations"]).to_vec();
        all.extend(tolerations.iter().filter(|new| !all.contains(new)).cloned().collect::<Vec<_>>());
        pod.set_path(&["spec", "tolerations"], all);
    }
    Ok(())
}

/// What is wrong with the overhead of a pod, after all steps that change it.
fn check(pod: &Value, class: Option<&Value>) -> Result<(), &'static str> {
    let stated = amounts(pod, &["spec", "overhead"]);
    match class.filter(|class| class.path(&["overhead"]).is_some()) {
        Some(class) if stated != amounts(class, &["overhead", "podFixed"]) => {
            Err("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
        }
        None if !stated.is_empty() => {
            Err("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")
        }
        _ => Ok(()),
    }
}

impl Step for RuntimeClass {
    fn mutate<'a>(&'a self, request: &'a mut AdmissionRequest) -> Work<'a, Result<(), Status>> {
        if !concerns(request) {
            return None;
        }
        Some(Box::pin(async move {
            let Some(class) = self.class(request).await? else { return Ok(()) };
            apply(&mut request.object, &class).map_err(|why| refuse(request, why))
        }))
    }

    fn validate<'a>(&'a self, request: &'a AdmissionRequest) -> Work<'a, Result<(), Status>> {
        if !concerns(request) {
            return None;
        }
        Some(Box::pin(async move {
            let class = self.class(request).await?;
            check(&request.object, class.as_ref()).map_err(|why| refuse(request, why))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_apiserver_machinery::value;

    #[test]
    fn a_class_gives_overhead_selector_and_tolerations() {
        let class = value!({
            "overhead": {"podFixed": {"memory": "64Mi"}},
            "scheduling": {"nodeSelector": {"kind": "vm"}, "tolerations": [{"key": "vm", "operator": "Exists"}]},
        });
        let mut pod = value!({"spec": {"nodeSelector": {"zone": "a"}, "tolerations": [{"key": "vm", "operator": "Exists"}]}});
        apply(&mut pod, &class).unwrap();
        assert_eq!(pod.path_str(&["spec", "overhead", "memory"]), Some("64Mi"));
        assert_eq!(pod.path_map(&["spec", "nodeSelector"]).unwrap().len(), 2);
        assert_eq!(pod.path_list(&["spec", "tolerations"]).len(), 1);
        assert!(check(&pod, Some(&class)).is_ok());
        assert!(check(&pod, None).is_err());
        let mut other = value!({"spec": {"nodeSelector": {"kind": "metal"}}});
        assert_eq!(
            apply(&mut other, &class).unwrap_err(),
            "conflict: runtimeClass.scheduling.nodeSelector[kind] = vm; pod.spec.nodeSelector[kind] = metal"
        );
    }
}
