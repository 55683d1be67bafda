//! `ValidatingAdmissionPolicy`: the step. For each policy and binding that are about a request it looks up the parameters
//! and does what the binding says about objections.

use futures::future::BoxFuture;
use mainstay_apiserver_kinds::NAMESPACE;
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::value::{self, Value};
use mainstay_proto_api::label::{LabelSelector, Selector};
use mainstay_proto_api::{Status, StatusCause};
use tracing::debug;

use super::evaluate::{Objection, Opinion, evaluate};
use super::names::{Seen, review};
use super::read::{Binding, ParamRef, Policy};
use super::source::Source;
use crate::admission::step::{Step, refuse};
use crate::admission::webhook::call::converted;
use crate::admission::webhook::matching::{Criteria, NoNamespace, is_exempt};
use crate::registry::Registry;
use crate::types::{AdmissionRequest, Operation};

/// Objects that one binding takes as parameters at most; each is one evaluation.
const PARAMS_MAX: usize = 1000;

/// The step.
pub struct ValidatingPolicies {
    registry: Registry,
    source: Source,
}

impl ValidatingPolicies {
    /// The step over policies and bindings of these kinds.
    ///
    /// # Errors
    /// 405 for kinds that are not stored.
    pub fn new(
        registry: &Registry,
        policies: &'static Kind,
        bindings: &'static Kind,
    ) -> Result<Self, Status> {
        let source = Source::new(registry.clone(), policies, bindings)?;
        Ok(Self { registry: registry.clone(), source })
    }

    fn check(&self, request: &AdmissionRequest) -> Result<(), Status> {
        let bound = self.source.bound()?;
        if bound.is_empty() || is_exempt(request) || request.operation == Operation::Connect {
            return Ok(());
        }
        let mut namespace = None;
        for bound in bound.iter() {
            let Some(form) = self.form(&bound.policy.criteria, request)? else { continue };
            for binding in &bound.bindings {
                if let Some(criteria) = &binding.criteria
                    && self.form(criteria, request)?.is_none()
                {
                    continue;
                }
                let namespace = match &namespace {
                    Some(namespace) => namespace,
                    None => namespace.insert(self.namespace(request)?),
                };
                let objections = self.objections((&bound.policy, binding), form, request, namespace);
                act((&bound.policy, binding), &objections, request)?;
            }
        }
        Ok(())
    }

    /// The kind in whose form the request is looked at; none when the criteria are not about it.
    fn form(&self, criteria: &Criteria, request: &AdmissionRequest) -> Result<Option<&'static Kind>, Status> {
        let labels = || Some(self.registry.get(&NAMESPACE, "", &request.namespace)?.header.labels.clone());
        let kinds = self.registry.served().current();
        criteria
            .form(request, kinds.all(), labels)
            .map_err(|NoNamespace| Status::not_found("", "namespaces", &request.namespace))
    }

    fn namespace(&self, request: &AdmissionRequest) -> Result<Value, Status> {
        if *request.kind == NAMESPACE || request.namespace.is_empty() {
            return Ok(Value::Null);
        }
        match self.registry.get(&NAMESPACE, "", &request.namespace) {
            Some(cached) => self.registry.decode_served(&NAMESPACE, &cached),
            None => Ok(Value::Null),
        }
    }

    fn objections(
        &self,
        (policy, binding): (&Policy, &Binding),
        form: &'static Kind,
        request: &AdmissionRequest,
        namespace: &Value,
    ) -> Vec<Objection> {
        let params = match self.params(policy, binding, request) {
            Ok(params) => params,
            Err(_) if policy.fails_open => return Vec::new(),
            Err(why) => {
                let message = format!("failed to configure binding: {why}");
                return vec![Objection { message, reason: "".into() }];
            }
        };
        let review = review(request, form);
        let in_form = AdmissionRequest {
            object: converted(&request.object, request.kind, form),
            old: request.old.as_ref().map(|old| converted(old, request.kind, form)),
            ..request.clone()
        };
        let mut objections = Vec::new();
        for params in &params {
            let seen = Seen { request: &in_form, review: &review, params, namespace };
            if let Opinion::Against(mut more) = evaluate(policy, &seen) {
                objections.append(&mut more);
            }
        }
        objections
    }

    /// The parameters that a binding names, one null when there are none to name; empty when they may be absent and are.
    fn params(
        &self,
        policy: &Policy,
        binding: &Binding,
        request: &AdmissionRequest,
    ) -> Result<Vec<Value>, String> {
        let (Some(gvk), Some(wanted)) = (&policy.param_kind, &binding.params) else {
            return Ok(vec![Value::Null]);
        };
        let kind = self
            .registry
            .served()
            .find_kind(&gvk.group, &gvk.version, &gvk.kind)
            .filter(|kind| kind.is_stored())
            .ok_or_else(|| format!("paramKind {} of {} is not served", gvk.kind, gvk.group))?;
        let namespace = match (kind.namespaced, wanted.namespace.as_str()) {
            (false, "") => "",
            (false, _) => {
                return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".into());
            }
            (true, "") if request.namespace.is_empty() => {
                return Err(
                    "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                        .into(),
                );
            }
            (true, "") => request.namespace.as_str(),
            (true, stated) => stated,
        };
        let found = self.find(kind, namespace, wanted)?;
        if found.is_empty() && wanted.denies_absence {
            return Err("no params found for policy binding with `Deny` parameterNotFoundAction".to_owned());
        }
        Ok(found)
    }

    fn find(&self, kind: &'static Kind, namespace: &str, wanted: &ParamRef) -> Result<Vec<Value>, String> {
        let decode = |cached: &crate::cache::Cached| {
            self.registry.decode_served(kind, cached).map_err(|status| status.message)
        };
        if !wanted.name.is_empty() {
            let found = self.registry.get(kind, namespace, &wanted.name);
            return found.iter().map(|cached| decode(cached)).collect();
        }
        let spec: LabelSelector = value::from_value(&wanted.selector).map_err(|error| error.to_string())?;
        let selector = Selector::from_spec(Some(&spec)).map_err(|error| error.to_string())?;
        let snapshot = self.registry.snapshot(kind).ok_or("the parameters are not stored")?;
        let all = snapshot.page(namespace, b"").filter(|cached| selector.matches(&*cached.header.labels));
        all.take(PARAMS_MAX).map(|cached| decode(cached)).collect()
    }
}

/// Refuses, warns or lets pass, as the binding says.
fn act(
    (policy, binding): (&Policy, &Binding),
    objections: &[Objection],
    request: &AdmissionRequest,
) -> Result<(), Status> {
    for objection in objections {
        debug!(policy = %policy.name, binding = %binding.name, why = %objection.message, "a policy objects");
        if binding.warns {
            request.warnings.push(format!(
                "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {}",
                policy.name, binding.name, objection.message
            ));
        }
    }
    match objections.first() {
        Some(objection) if binding.denies => Err(denied(policy, binding, objection, request)),
        _ => Ok(()),
    }
}

/// Upstream's refusal: the text of a 403, with the reason and code that the validation states.
fn denied(policy: &Policy, binding: &Binding, objection: &Objection, request: &AdmissionRequest) -> Status {
    let message = format!(
        "ValidatingAdmissionPolicy '{}' with binding '{}' denied request: {}",
        policy.name, binding.name, objection.message
    );
    let mut status = refuse(request, &message);
    let (reason, code) = match objection.reason.as_str() {
        "Forbidden" => ("Forbidden", 403),
        "Unauthorized" => ("Unauthorized", 401),
        "RequestEntityTooLarge" => ("RequestEntityTooLarge", 413),
        _ => ("Invalid", 422),
    };
    status.reason = reason.into();
    status.code = code;
    let cause = StatusCause { message, ..StatusCause::default() };
    status.details.get_or_insert_default().causes.push(cause);
    status
}

impl Step for ValidatingPolicies {
    fn validate<'a>(&'a self, request: &'a AdmissionRequest) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(std::future::ready(self.check(request)))
    }
}
