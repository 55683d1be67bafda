//! `MutatingAdmissionPolicy`: every policy that is about a request changes its object, binding by binding and one set of
//! parameters after the other. When one changes it, the steps before run once more, and the policies that want it too.

use std::sync::Arc;

use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::{Status, StatusCause};
use smol_str::{SmolStr, format_smolstr};

use super::answers::Answers;
use super::conditions::Met;
use super::mutate::mutated;
use super::names::{Seen, review};
use super::read::Policy;
use super::scope::Scope;
use crate::admission::reread::reread;
use crate::admission::step::{Step, Work, refuse};
use crate::admission::webhook::matching::is_exempt;
use crate::registry::Registry;
use crate::types::{AdmissionRequest, Authorize, Operation};

/// The step.
pub struct MutatingPolicies {
    scope: Scope,
    authorizer: Arc<dyn Authorize>,
}

/// A policy that is about a request, with one set of parameters.
struct Invocation<'p> {
    policy: &'p Policy,
    binding: SmolStr,
    /// In whose form the policy is about the request.
    form: &'static Kind,
    params: Value,
}

impl Invocation<'_> {
    /// Names the invocation among those of a request.
    fn key(&self) -> SmolStr {
        let params = Meta(&self.params);
        format_smolstr!("{}/{}/{}/{}", self.policy.name, self.binding, params.namespace(), params.name())
    }

    /// Upstream's sentence about a failure.
    fn denies(&self, why: &str) -> String {
        format!("policy '{}' with binding '{}' denied request: {why}", self.policy.name, self.binding)
    }
}

impl MutatingPolicies {
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

    async fn run(&self, request: &mut AdmissionRequest) -> Result<(), Status> {
        let bound = self.scope.bound()?;
        let changes = matches!(request.operation, Operation::Create | Operation::Update);
        if bound.is_empty() || !changes || is_exempt(request) {
            return Ok(());
        }
        let mut failures = Vec::new();
        let mut invocations = Vec::new();
        for bound in bound.iter() {
            let Some(form) = self.scope.form(&bound.policy.criteria, request)? else { continue };
            for binding in &bound.bindings {
                if let Some(criteria) = &binding.criteria
                    && self.scope.form(criteria, request)?.is_none()
                {
                    continue;
                }
                let (policy, name) = (&bound.policy, &binding.name);
                let invocation = |params| Invocation { policy, binding: name.clone(), form, params };
                match self.scope.params(policy, binding, request).await {
                    Ok(found) => invocations.extend(found.into_iter().map(invocation)),
                    Err(_) if policy.fails_open => {}
                    Err(why) => {
                        let why = format!("failed to configure binding: {why}");
                        failures.push(invocation(Value::Null).denies(&why));
                    }
                }
            }
        }
        if !invocations.is_empty() {
            self.invoke(&invocations, request, &mut failures).await?;
        }
        refusal(request, failures).map_or(Ok(()), Err)
    }

    async fn invoke(
        &self,
        invocations: &[Invocation<'_>],
        request: &mut AdmissionRequest,
        failures: &mut Vec<String>,
    ) -> Result<(), Status> {
        let namespace = self.scope.namespace(request)?;
        let is_again = request.reinvocation.is_again;
        let rounds = &mut request.reinvocation.policies;
        if is_again && rounds.last.as_ref() != Some(&request.object) {
            rounds.all_due();
        }
        for invocation in invocations {
            let before = request.object.clone();
            let key = invocation.key();
            if is_again && !request.reinvocation.policies.due.contains(&key) {
                continue;
            }
            if !self.change(invocation, request, &namespace, failures).await? {
                continue;
            }
            if request.object != before {
                request.reinvocation.policies.all_due();
                request.reinvocation.is_wanted = true;
            }
            if invocation.policy.again {
                request.reinvocation.policies.asked.push(key);
            }
        }
        request.reinvocation.policies.last = Some(request.object.clone());
        Ok(())
    }

    /// Changes the object; false when the policy's conditions spare it.
    async fn change(
        &self,
        invocation: &Invocation<'_>,
        request: &mut AdmissionRequest,
        namespace: &Value,
        failures: &mut Vec<String>,
    ) -> Result<bool, Status> {
        let (policy, form, registry) = (invocation.policy, invocation.form, &self.scope.registry);
        let mut fail = |why: &str| {
            if !policy.fails_open {
                failures.push(invocation.denies(why));
            }
        };
        let review = review(request, form);
        let mut in_form = AdmissionRequest {
            object: registry.converted(request.object.clone(), request.kind, form).await?,
            old: match &request.old {
                Some(old) => Some(registry.converted(old.clone(), request.kind, form).await?),
                None => None,
            },
            ..request.clone()
        };
        let answers = Answers::new(&*self.authorizer, request);
        let (review, params) = (&review, &invocation.params);
        let seen = Seen { request: &in_form, review, params, namespace, access: &answers };
        match answers.settled(|| policy.conditions.hold(&seen)).await {
            Met::All => {}
            Met::No => return Ok(false),
            Met::Failed(why) => {
                fail(&why);
                return Ok(false);
            }
        }
        for mutation in &policy.mutations {
            let seen = Seen { request: &in_form, review, params, namespace, access: &answers };
            let made = answers.settled(|| mutated((policy, mutation), &seen, form)).await;
            match made {
                Ok(Some(object)) => in_form.object = reread(&object, form, request)?,
                Ok(None) => {}
                Err(why) => fail(&why),
            }
        }
        request.object = registry.converted(in_form.object, form, request.kind).await?;
        Ok(true)
    }
}

/// Upstream's refusal: the first failure is the message, all are causes.
fn refusal(request: &AdmissionRequest, failures: Vec<String>) -> Option<Status> {
    let mut status = refuse(request, "admission request denied by policy");
    status.message.clone_from(failures.first()?);
    status.reason = "Invalid".into();
    let causes = failures.into_iter().map(|message| StatusCause { message, ..StatusCause::default() });
    status.details.get_or_insert_default().causes.extend(causes);
    Some(status)
}

impl Step for MutatingPolicies {
    fn mutate<'a>(&'a self, request: &'a mut AdmissionRequest) -> Work<'a, Result<(), Status>> {
        // What is wrong with the policies is told by the run.
        if self.scope.bound().is_ok_and(|bound| bound.is_empty()) {
            return None;
        }
        Some(Box::pin(self.run(request)))
    }
}
