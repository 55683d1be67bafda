//! `pods/binding` and `bindings`: the scheduler's decision, written once and never changed.

use std::sync::Arc;

use futures::future::BoxFuture;
use http::StatusCode;
use mainstay_apiserver_kinds::{BINDING, POD};
use mainstay_apiserver_machinery::object::{Meta, MetaMut};
use mainstay_apiserver_machinery::pipeline::{self, timestamp};
use mainstay_apiserver_machinery::value;
use mainstay_apiserver_machinery::value::Value;
use mainstay_base::lifecycle::Clock;
use mainstay_proto_api::Status;
use smol_str::SmolStr;

use super::condition::set_condition;
use crate::registry::Registry;
use crate::request::{RequestContext, respond_status};
use crate::reviews::request::{create_options, dry_run, read};
use crate::types::{
    AdmissionRequest, Admit, Endpoint, Marks, Operation, Reinvocation, Request, Response, Warnings,
};

/// Answers binding requests.
pub struct PodBinding {
    /// Where pods are.
    pub registry: Registry,
    /// Admission of the binding.
    pub admission: Arc<dyn Admit>,
    /// The time, for the condition.
    pub clock: Arc<dyn Clock>,
    /// The longest body.
    pub body_bytes_max: usize,
}

impl PodBinding {
    async fn bind(&self, context: RequestContext, request: Request) -> Result<Response, Status> {
        let binding = read(&context, request, &BINDING, self.body_bytes_max).await?;
        let named = Meta(&binding).name();
        let name = if context.info.resource == "bindings" { named } else { context.info.name.as_str() };
        if !named.is_empty() && named != name {
            return Err(Status::bad_request("name in URL does not match name in Binding object"));
        }
        if name.is_empty() {
            return Err(Status::bad_request("name is required"));
        }
        let name = SmolStr::new(name);
        let binding = self.admit(&context, binding, &name).await?;
        let name = name.as_str();
        let now = timestamp(self.clock.wall());
        let change = |pod: Value| bound(pod, &binding, &now).map(Some);
        if dry_run(&context)? {
            let namespace = context.info.namespace.as_str();
            let found = self.registry.get_fresh(&POD, namespace, name).await?;
            let found = found.ok_or_else(|| Status::not_found("", "pods", name))?;
            change(self.registry.decode_served(&POD, &found)?)?;
        } else {
            self.registry.update_with(&POD, &context.info.namespace, name, change).await?;
        }
        let mut done = Status::success();
        done.code = 201;
        let mut response = respond_status(&context.headers, &context.query, &done);
        *response.status_mut() = StatusCode::CREATED;
        Ok(response)
    }

    /// The binding as admission makes it.
    async fn admit(&self, context: &RequestContext, binding: Value, name: &SmolStr) -> Result<Value, Status> {
        let is_own = context.info.resource == "bindings";
        let (dry_run, options) = create_options(context)?;
        let mut request = AdmissionRequest {
            kind: if is_own { &BINDING } else { &POD },
            subresource: if is_own { SmolStr::default() } else { "binding".into() },
            operation: Operation::Create,
            namespace: context.info.namespace.clone(),
            name: name.clone(),
            object: binding,
            old: None,
            user: context.user().clone(),
            dry_run,
            options,
            warnings: Warnings::default(),
            marks: Marks::default(),
            reinvocation: Reinvocation::default(),
        };
        self.admission.mutate(&mut request).await?;
        self.admission.validate(&request).await?;
        Ok(request.object)
    }
}

impl Endpoint for PodBinding {
    fn call(&self, context: RequestContext, request: Request) -> BoxFuture<'_, Result<Response, Status>> {
        Box::pin(self.bind(context, request))
    }
}

/// The pod bound as the binding says, or why it cannot be. Pure.
fn bound(mut pod: Value, binding: &Value, now: &str) -> Result<Value, Status> {
    let name = Meta(&pod).name().to_owned();
    let conflict = |why: String| Status::conflict("", "pods/binding", &name, why);
    let node = binding.path_str(&["target", "name"]).unwrap_or_default();
    let uid = Meta(binding).uid();
    if !uid.is_empty() && uid != Meta(&pod).uid() {
        let held = Meta(&pod).uid().to_owned();
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {held}");
        return Err(conflict(pipeline::invalid_stored(&POD, (Meta(&pod).namespace(), &name), &why)));
    }
    let version = Meta(binding).resource_version();
    if !version.is_empty() && version != Meta(&pod).resource_version() {
        let held = Meta(&pod).resource_version().to_owned();
        let why = format!(
            "Precondition failed: ResourceVersion in precondition: {version}, ResourceVersion in object meta: {held}"
        );
        return Err(conflict(pipeline::invalid_stored(&POD, (Meta(&pod).namespace(), &name), &why)));
    }
    if Meta(&pod).is_deleting() {
        return Err(conflict(format!("pod {name} is being deleted, cannot be assigned to a host")));
    }
    match pod.path_str(&["spec", "nodeName"]) {
        None | Some("") => {}
        Some(held) => return Err(conflict(format!("pod {name} is already assigned to node {held:?}"))),
    }
    if !pod.path_list(&["spec", "schedulingGates"]).is_empty() {
        return Err(conflict(format!("pod {name} has non-empty .spec.schedulingGates")));
    }
    pod.set_path(&["spec", "nodeName"], node);
    for (key, value) in Meta(binding).annotations().into_iter().flatten() {
        MetaMut(&mut pod).set_annotation(key, value.as_str().unwrap_or_default());
    }
    // Labels of the node that admission put there; those that the pod has stay.
    for (key, value) in Meta(binding).label_pairs() {
        let labels = pod.make_map().get_or_insert_map("metadata").get_or_insert_map("labels");
        if !labels.contains_key(key) {
            labels.insert(key, value);
        }
    }
    let condition = value!({
        "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now
    });
    set_condition(&mut pod, condition);
    Ok(pod)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding() -> Value {
        value!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}})
    }

    #[test]
    fn a_pod_is_bound_once() {
        let pod = value!({"metadata": {"name": "p", "uid": "u"}, "spec": {}});
        let pod = bound(pod, &binding(), "now").unwrap();
        assert_eq!(pod.path_str(&["spec", "nodeName"]), Some("n1"));
        assert_eq!(pod.path_list(&["status", "conditions"])[0].path_str(&["status"]), Some("True"));
        let again = bound(pod, &binding(), "now").unwrap_err();
        assert_eq!(again.code, 409);
        assert!(again.message.ends_with(r#"pod p is already assigned to node "n1""#), "{}", again.message);
    }

    #[test]
    fn gates_deletion_and_another_uid_refuse() {
        for pod in [
            value!({"metadata": {"name": "p"}, "spec": {"schedulingGates": [{"name": "g"}]}}),
            value!({"metadata": {"name": "p", "deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": {}}),
        ] {
            assert_eq!(bound(pod, &binding(), "now").unwrap_err().code, 409);
        }
        let mut other = binding();
        other.set_path(&["metadata", "uid"], "x");
        assert_eq!(
            bound(value!({"metadata": {"name": "p", "uid": "u"}}), &other, "now").unwrap_err().code,
            409
        );
    }
}
