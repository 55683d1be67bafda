//! `ValidatingAdmissionPolicy`: for each policy and binding that are about a request the step does what the binding says
//! about objections: it refuses, warns and tells the audit log, once all policies were heard.

use std::sync::Arc;

use mainstay_apiserver_machinery::json;
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::value;
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::{Status, StatusCause};
use smol_str::SmolStr;
use tracing::debug;

use super::answers::Answers;
use super::evaluate::{Objection, Opinion, evaluate};
use super::names::{Seen, review};
use super::read::{Binding, Policy};
use super::scope::Scope;
use crate::admission::step::{Step, Work, refuse};
use crate::admission::webhook::matching::is_exempt;
use crate::audit;
use crate::registry::Registry;
use crate::types::{AdmissionRequest, Authorize};

/// Where the audit log is told of objections.
const FAILURES: &str = "validation.policy.admission.k8s.io/validation_failure";
/// The most objections that are told there.
const FAILURES_MAX: usize = 50;
/// The longest value of a policy's own annotation, in bytes.
const NOTE_BYTES_MAX: usize = 10 * 1024;

/// The step.
pub struct ValidatingPolicies {
    scope: Scope,
    authorizer: Arc<dyn Authorize>,
}

/// What came of all policies.
#[derive(Default)]
struct Outcome {
    /// The first refusal.
    refusal: Option<Status>,
    /// Objections for the audit log.
    failures: Vec<Value>,
}

impl ValidatingPolicies {
    /// The step over policies and bindings of these kinds, whose expressions may ask `authorizer`.
    ///
    /// # Errors
    /// 405 for kinds that are not stored.
    pub fn new(
        registry: &Registry,
        policies: &'static Kind,
        bindings: &'static Kind,
        authorizer: Arc<dyn Authorize>,
    ) -> Result<Self, Status> {
        Ok(Self { scope: Scope::new(registry, policies, bindings)?, authorizer })
    }

    async fn check(&self, request: &AdmissionRequest) -> Result<(), Status> {
        let bound = self.scope.bound()?;
        if bound.is_empty() || is_exempt(request) {
            return Ok(());
        }
        let mut namespace = None;
        let mut outcome = Outcome::default();
        for bound in bound.iter() {
            let Some(form) = self.scope.form(&bound.policy.criteria, request)? else { continue };
            let mut notes = Notes::default();
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
                let about = (&bound.policy, binding);
                for opinion in self.opinions(about, form, request, namespace).await? {
                    outcome.take(about, &opinion, request);
                    notes.take(opinion);
                }
            }
            notes.tell(&bound.policy.name);
        }
        outcome.tell()
    }

    async fn opinions(
        &self,
        (policy, binding): (&Policy, &Binding),
        form: &'static Kind,
        request: &AdmissionRequest,
        namespace: &Value,
    ) -> Result<Vec<Opinion>, Status> {
        let params = match self.scope.params(policy, binding, request).await {
            Ok(params) => params,
            Err(_) if policy.fails_open => return Ok(Vec::new()),
            Err(why) => return Ok(vec![Opinion::failed(format!("failed to configure binding: {why}"))]),
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
        let answers = Answers::new(&*self.authorizer, request);
        let mut opinions = Vec::new();
        for params in &params {
            let seen = Seen { request: &in_form, review: &review, params, namespace, access: &answers };
            opinions.push(answers.settled(|| evaluate(policy, &seen)).await);
        }
        Ok(opinions)
    }
}

impl Outcome {
    /// Takes in what a policy says, as the binding wants it.
    fn take(
        &mut self,
        (policy, binding): (&Policy, &Binding),
        opinion: &Opinion,
        request: &AdmissionRequest,
    ) {
        for objection in &opinion.objections {
            debug!(policy = %policy.name, binding = %binding.name, why = %objection.message, "a policy objects");
            if binding.denies && self.refusal.is_none() {
                self.refusal = Some(denied(policy, binding, objection, request));
            }
            if binding.audits && self.failures.len() < FAILURES_MAX {
                self.failures.push(value!({
                    "message": objection.message.as_str(),
                    "policy": policy.name.clone(),
                    "binding": binding.name.clone(),
                    "expressionIndex": (i64::try_from(objection.index).unwrap_or(i64::MAX)),
                    "validationActions": (binding.actions.iter().cloned().collect::<Value>()),
                }));
            }
            if binding.warns {
                request.warnings.push(format!(
                    "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {}",
                    policy.name, binding.name, objection.message
                ));
            }
        }
        // What cannot be told refuses, whatever the binding says.
        if let (None, Some(why)) = (&self.refusal, opinion.failed_notes.first()) {
            let objection = Objection { index: 0, message: why.clone(), reason: SmolStr::default() };
            self.refusal = Some(denied(policy, binding, &objection, request));
        }
    }

    fn tell(self) -> Result<(), Status> {
        if !self.failures.is_empty() {
            audit::annotate(FAILURES, || json::to_string(&Value::List(self.failures)));
        }
        self.refusal.map_or(Ok(()), Err)
    }
}

/// What the audit log is told by one policy: the different values of each key.
#[derive(Default)]
struct Notes(Vec<(SmolStr, Vec<String>)>);

impl Notes {
    fn take(&mut self, opinion: Opinion) {
        for (key, mut text) in opinion.notes {
            text.truncate(text.floor_char_boundary(NOTE_BYTES_MAX));
            match self.0.iter_mut().find(|(known, _)| *known == key) {
                Some((_, texts)) if texts.contains(&text) => {}
                Some((_, texts)) => texts.push(text),
                None => self.0.push((key, vec![text])),
            }
        }
    }

    fn tell(self, policy: &str) {
        for (key, texts) in self.0 {
            audit::annotate(&format!("{policy}/{key}"), || texts.join(", "));
        }
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
    fn validate<'a>(&'a self, request: &'a AdmissionRequest) -> Work<'a, Result<(), Status>> {
        // What is wrong with the policies is told by the run.
        if self.scope.bound().is_ok_and(|bound| bound.is_empty()) {
            return None;
        }
        Some(Box::pin(self.check(request)))
    }
}
