//! Asking one hook about one request.

use std::sync::Arc;

use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::value::Value;
use mainstay_base::telemetry::trace;
use mainstay_proto_api::Status;

use super::hook::Hook;
use super::matching::{NoNamespace, is_exempt};
use super::review::{Verdict, question, verdict};
use crate::admission::policy::Met;
use crate::admission::step::refuse;
use crate::audit;
use crate::callout::Caller;
use crate::config::Randomness;
use crate::registry::Registry;
use crate::types::{AdmissionRequest, Authorize};

/// Everything that asking needs.
#[derive(Clone)]
pub(super) struct Asking {
    pub(super) registry: Registry,
    pub(super) caller: Caller,
    pub(super) randomness: Arc<dyn Randomness>,
    /// Whom match conditions may ask.
    pub(super) authorizer: Arc<dyn Authorize>,
}

/// How asking a hook ended.
pub(super) enum Asked {
    /// It answered.
    Answered(Box<Verdict>),
    /// It could not be asked, and the request goes on without it.
    Skipped,
}

impl Asking {
    /// The kind in whose form the hook wants to see the request; none when it is not asked.
    ///
    /// # Errors
    /// 404 for a namespace that is not there; 403 for a hook whose conditions cannot be evaluated.
    pub(super) async fn form(
        &self,
        hook: &Hook,
        request: &AdmissionRequest,
    ) -> Result<Option<&'static Kind>, Status> {
        if is_exempt(request) {
            return Ok(None);
        }
        let namespace = || {
            let kind = &mainstay_apiserver_kinds::NAMESPACE;
            Some(self.registry.get(kind, "", &request.namespace)?.header.labels.clone())
        };
        match hook.criteria.form(request, self.registry.served().current().all(), namespace) {
            Ok(Some(form)) => match hook.conditions.met(request, form, &*self.authorizer).await {
                Met::All => Ok(Some(form)),
                Met::No => Ok(None),
                Met::Failed(_) if hook.fails_open => Ok(None),
                Met::Failed(why) => Err(refuse(request, why)),
            },
            Ok(None) => Ok(None),
            Err(NoNamespace) => Err(Status::not_found("", "namespaces", &request.namespace)),
        }
    }

    /// Asks the hook.
    ///
    /// # Errors
    /// A hook that cannot be asked where the configuration says that this fails the request; a dry run that the hook
    /// does not support.
    pub(super) async fn ask(
        &self,
        hook: &Hook,
        request: &AdmissionRequest,
        form: &'static Kind,
        mutating: bool,
    ) -> Result<Asked, Status> {
        if request.dry_run && !hook.dry_run {
            let why = format!("admission webhook {:?} does not support dry run", hook.name.as_str());
            return Err(Status::bad_request(why));
        }
        match self.traced_answer(hook, request, form, mutating).await {
            Ok(verdict) => {
                request.warnings.extend(verdict.warnings.iter().cloned());
                for (key, text) in &verdict.annotations {
                    audit::annotate(&format!("{}/{key}", hook.name), || text.clone());
                }
                Ok(Asked::Answered(Box::new(verdict)))
            }
            Err(why) if hook.fails_open => {
                tracing::warn!(webhook = %hook.name, %why, "a webhook could not be asked; the request goes on");
                Ok(Asked::Skipped)
            }
            Err(why) => {
                Err(Status::internal(format!("failed calling webhook {:?}: {why}", hook.name.as_str())))
            }
        }
    }

    /// As [`Self::answer`], below a span with upstream's name if the request is traced.
    async fn traced_answer(
        &self,
        hook: &Hook,
        request: &AdmissionRequest,
        form: &'static Kind,
        mutating: bool,
    ) -> Result<Verdict, String> {
        let name = if mutating { "Call mutating webhook" } else { "Call validating webhook" };
        let mut span = trace::child(name);
        let answer = self.answer(hook, request, form, mutating);
        if !span.is_recorded() {
            return answer.await;
        }
        span.set("configuration", hook.configuration.as_str());
        span.set("webhook", hook.name.as_str());
        span.set("group", request.kind.group);
        span.set("version", request.kind.version);
        span.set("resource", request.kind.plural);
        span.set("operation", request.operation.as_str());
        let (mut span, answer) = Box::pin(trace::within(span, answer)).await;
        if let Err(why) = &answer {
            span.fail(why.as_str());
        }
        answer
    }

    async fn answer(
        &self,
        hook: &Hook,
        request: &AdmissionRequest,
        form: &'static Kind,
        mutating: bool,
    ) -> Result<Verdict, String> {
        let version = hook.review_version.ok_or(
            "could not create admission objects: webhook does not accept known AdmissionReview versions (v1, v1beta1)",
        )?;
        let uid = self.uid();
        let converted = async |object: &Value| {
            let object = self.registry.converted(object.clone(), request.kind, form).await;
            object.map_err(|status| status.message)
        };
        let object = converted(&request.object).await?;
        let old = match &request.old {
            Some(old) => Some(converted(old).await?),
            None => None,
        };
        let body = question(version, &uid, request, form, (&object, old.as_ref()));
        let answer = self.caller.post(&hook.callee, body).await;
        let answer = answer.map_err(|error| format!("failed to call webhook: {error}"))?;
        verdict(version, &uid, mutating, &answer)
            .map_err(|why| format!("received invalid webhook response: {why}"))
    }

    fn uid(&self) -> String {
        let mut bytes = [0; 16];
        self.randomness.fill(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    }
}
