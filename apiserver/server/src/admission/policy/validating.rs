//! `ValidatingAdmissionPolicy`: for each policy and binding that are about a request the step does what the binding says
//! about objections.

use futures::future::BoxFuture;
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::{Status, StatusCause};
use tracing::debug;

use super::evaluate::{Objection, Opinion, evaluate};
use super::names::{Seen, review};
use super::read::{Binding, Policy};
use super::scope::Scope;
use crate::admission::step::{Step, refuse};
use crate::admission::webhook::matching::is_exempt;
use crate::registry::Registry;
use crate::types::AdmissionRequest;

/// The step.
pub struct ValidatingPolicies {
    scope: Scope,
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
        Ok(Self { scope: Scope::new(registry, policies, bindings)? })
    }

    async fn check(&self, request: &AdmissionRequest) -> Result<(), Status> {
        let bound = self.scope.bound()?;
        if bound.is_empty() || is_exempt(request) {
            return Ok(());
        }
        let mut namespace = None;
        for bound in bound.iter() {
            let Some(form) = self.scope.form(&bound.policy.criteria, request)? else { continue };
            for binding in &bound.bindings {
                if let Some(criteria) = &binding.criteria
                    && self.scope.form(criteria, request)?.is_none()
                {
                    continue;
                }
                let namespace = match &namespace {
                    Some(namespace) => namespace,
                    None => namespace.insert(self.scope.namespace(request)?),
                };
                let objections = self.objections((&bound.policy, binding), form, request, namespace).await?;
                act((&bound.policy, binding), &objections, request)?;
            }
        }
        Ok(())
    }

    async fn objections(
        &self,
        (policy, binding): (&Policy, &Binding),
        form: &'static Kind,
        request: &AdmissionRequest,
        namespace: &Value,
    ) -> Result<Vec<Objection>, Status> {
        let params = match self.scope.params(policy, binding, request).await {
            Ok(params) => params,
            Err(_) if policy.fails_open => return Ok(Vec::new()),
            Err(why) => {
                let message = format!("failed to configure binding: {why}");
                return Ok(vec![Objection { message, reason: "".into() }]);
            }
        };
        let review = review(request, form);
        let in_form = AdmissionRequest {
            object: self.scope.registry.converted(request.object.clone(), request.kind, form).await?,
            old: match &request.old {
                Some(old) => Some(self.scope.registry.converted(old.clone(), request.kind, form).await?),
                None => None,
            },
            ..request.clone()
        };
        let mut objections = Vec::new();
        for params in &params {
            let seen = Seen { request: &in_form, review: &review, params, namespace };
            if let Opinion::Against(mut more) = evaluate(policy, &seen) {
                objections.append(&mut more);
            }
        }
        Ok(objections)
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
        Box::pin(self.check(request))
    }
}
