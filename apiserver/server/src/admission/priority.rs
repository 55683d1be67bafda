//! `Priority`: the number and the preemption policy of a pod follow from its priority class, never from the client.

use mainstay_apiserver_kinds::{POD, PRIORITY_CLASS};
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Status;

use super::step::{Step, Work, at_once, refuse};
use crate::registry::Registry;
use crate::types::{AdmissionRequest, Operation};

const PREEMPT: &str = "PreemptLowerPriority";

/// The step.
pub struct Priority {
    registry: Registry,
}

/// What a class gives to its pods.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Class {
    name: String,
    value: i64,
    preemption: String,
}

impl Class {
    fn from_value(name: &str, class: &Value) -> Self {
        let preemption = class.path_str(&["preemptionPolicy"]).unwrap_or(PREEMPT).to_owned();
        Self { name: name.to_owned(), value: class.path_i64(&["value"]).unwrap_or_default(), preemption }
    }
}

impl Priority {
    /// The step over the cluster's priority classes.
    pub fn new(registry: Registry) -> Self {
        Self { registry }
    }

    async fn resolve(&self, request: &mut AdmissionRequest) -> Result<(), Status> {
        if request.operation == Operation::Update {
            keep(request);
            return Ok(());
        }
        let wanted = request.object.path_str(&["spec", "priorityClassName"]).unwrap_or_default().to_owned();
        let class = if wanted.is_empty() {
            self.global_default()?
        } else {
            let found = self.registry.get_fresh(&PRIORITY_CLASS, "", &wanted).await?;
            let Some(found) = found else {
                return Err(refuse(request, format!("no PriorityClass with name {wanted} was found")));
            };
            Some(Class::from_value(&wanted, &self.registry.decode_served(&PRIORITY_CLASS, &found)?))
        };
        let class =
            class.unwrap_or_else(|| Class { name: String::new(), value: 0, preemption: PREEMPT.to_owned() });
        apply(&mut request.object, &class).map_err(|why| refuse(request, why))
    }

    /// The class for pods that name none: the one with the lowest value, should there be several.
    fn global_default(&self) -> Result<Option<Class>, Status> {
        let mut found: Option<Class> = None;
        for cached in self.registry.cache(&PRIORITY_CLASS)?.snapshot().iter() {
            let class = self.registry.decode_served(&PRIORITY_CLASS, cached)?;
            if class.path_bool(&["globalDefault"]) != Some(true) {
                continue;
            }
            let class = Class::from_value(&cached.header.name, &class);
            if found.as_ref().is_none_or(|held| class.value < held.value) {
                found = Some(class);
            }
        }
        Ok(found)
    }

    fn only_default(&self, request: &AdmissionRequest) -> Result<(), Status> {
        if request.object.path_bool(&["globalDefault"]) != Some(true) {
            return Ok(());
        }
        match self.global_default()? {
            Some(held) if held.name != request.name.as_str() => {
                let why = format!(
                    "PriorityClass {} is already marked as default. Only one default can exist",
                    held.name
                );
                Err(refuse(request, why))
            }
            _ => Ok(()),
        }
    }
}

/// An update cannot change the priority: what the client leaves out stays.
fn keep(request: &mut AdmissionRequest) {
    let Some(old) = &request.old else { return };
    for field in ["priority", "preemptionPolicy"] {
        if request.object.path(&["spec", field]).is_none()
            && let Some(value) = old.path(&["spec", field]).cloned()
        {
            request.object.set_path(&["spec", field], value);
        }
    }
}

fn apply(pod: &mut Value, class: &Class) -> Result<(), String> {
    if let Some(given) = pod.path_i64(&["spec", "priority"])
        && given != class.value
    {
        return Err(format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {} from the given PriorityClass name",
            class.value
        ));
    }
    if let Some(given) = pod.path_str(&["spec", "preemptionPolicy"])
        && given != class.preemption
    {
        return Err(format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller computed {} from the given PriorityClass name",
            class.preemption
        ));
    }
    if !class.name.is_empty() {
        pod.set_path(&["spec", "priorityClassName"], class.name.as_str());
    }
    pod.set_path(&["spec", "priority"], class.value);
    pod.set_path(&["spec", "preemptionPolicy"], class.preemption.as_str());
    Ok(())
}

impl Step for Priority {
    fn mutate<'a>(&'a self, request: &'a mut AdmissionRequest) -> Work<'a, Result<(), Status>> {
        let writes = matches!(request.operation, Operation::Create | Operation::Update);
        if *request.kind == POD && writes && request.subresource.is_empty() {
            return Some(Box::pin(self.resolve(request)));
        }
        None
    }

    fn validate<'a>(&'a self, request: &'a AdmissionRequest) -> Work<'a, Result<(), Status>> {
        let writes = matches!(request.operation, Operation::Create | Operation::Update);
        if *request.kind == PRIORITY_CLASS && writes { at_once(self.only_default(request)) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_apiserver_machinery::value;

    #[test]
    fn the_class_decides_and_a_contradiction_is_refused() {
        let class = Class { name: "high".to_owned(), value: 1000, preemption: "Never".to_owned() };
        let mut pod = value!({"spec": {}});
        apply(&mut pod, &class).unwrap();
        assert_eq!(pod.path_i64(&["spec", "priority"]), Some(1000));
        assert_eq!(pod.path_str(&["spec", "preemptionPolicy"]), Some("Never"));
        assert!(apply(&mut value!({"spec": {"priority": 5}}), &class).is_err());
        assert!(apply(&mut value!({"spec": {"preemptionPolicy": "PreemptLowerPriority"}}), &class).is_err());
    }
}
