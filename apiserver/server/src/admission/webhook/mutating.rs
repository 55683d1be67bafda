//! `MutatingAdmissionWebhook`: hooks that change the object, one after the other. When one changes it, the in-tree steps
//! and the hooks that want it are run once more.

use std::sync::Arc;

use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::patch;
use mainstay_apiserver_machinery::value::Value;
use mainstay_apiserver_machinery::{json, value};
use mainstay_proto_api::Status;

use super::call::{Asked, Asking};
use super::hook::Hook;
use super::review::denied;
use super::source::Source;
use crate::admission::reread::reread;
use crate::admission::step::{Step, Work};
use crate::audit;
use crate::callout::Caller;
use crate::config::Randomness;
use crate::registry::Registry;
use crate::types::{AdmissionRequest, Authorize};

/// The step.
pub struct MutatingWebhooks {
    source: Source,
    asking: Asking,
}

impl MutatingWebhooks {
    /// The step over the objects of `configurations`.
    ///
    /// # Errors
    /// 405 when `configurations` is not stored.
    pub fn new(
        registry: &Registry,
        configurations: &'static Kind,
        caller: Caller,
        (randomness, authorizer): (Arc<dyn Randomness>, Arc<dyn Authorize>),
    ) -> Result<Self, Status> {
        let source = Source::new(registry.clone(), configurations)?;
        let asking = Asking { registry: registry.clone(), caller, randomness, authorizer };
        Ok(Self { source, asking })
    }

    async fn run(&self, request: &mut AdmissionRequest) -> Result<(), Status> {
        let hooks = self.source.hooks()?;
        if hooks.is_empty() {
            return Ok(());
        }
        let again = request.reinvocation.is_again;
        let rounds = &mut request.reinvocation.hooks;
        if again && rounds.last.as_ref() != Some(&request.object) {
            rounds.all_due();
        }
        for (at, hook) in hooks.iter().enumerate() {
            let Some(form) = self.asking.form(hook, request).await? else { continue };
            if again && !request.reinvocation.hooks.due.contains(&hook.key) {
                continue;
            }
            let notes = Notes { round: usize::from(again), index: at, hook };
            let changed = self.ask(&notes, request, form).await;
            notes.mutated(matches!(changed, Ok(true)));
            if changed? {
                request.reinvocation.hooks.all_due();
                request.reinvocation.is_wanted = true;
            }
            if hook.again {
                request.reinvocation.hooks.asked.push(hook.key.clone());
            }
        }
        request.reinvocation.hooks.last = Some(request.object.clone());
        Ok(())
    }

    /// Asks one hook; true when it changed the object.
    async fn ask(
        &self,
        notes: &Notes<'_>,
        request: &mut AdmissionRequest,
        form: &'static Kind,
    ) -> Result<bool, Status> {
        let hook = notes.hook;
        let Asked::Answered(verdict) = self.asking.ask(hook, request, form, true).await? else {
            notes.failed_open();
            return Ok(false);
        };
        if !verdict.allowed {
            return Err(denied(hook, verdict.status));
        }
        let Some(operations) = verdict.patch else { return Ok(false) };
        if request.object.is_null() {
            return Err(Status::internal(format!(
                "admission webhook {:?} attempted to modify the object, which is not supported for this operation",
                hook.name.as_str()
            )));
        }
        notes.patched(&operations);
        let registry = &self.asking.registry;
        let object = registry.converted(request.object.clone(), request.kind, form).await?;
        let patched = patch::json_patch(&object, &operations).map_err(Status::internal)?;
        let patched = reread(&patched, form, request)?;
        let patched = registry.converted(patched, form, request.kind).await?;
        let changed = patched != request.object;
        request.object = patched;
        Ok(changed)
    }
}

/// What the audit log is told of one call.
struct Notes<'h> {
    /// 1 when the hook is asked again.
    round: usize,
    /// The hook's place among all.
    index: usize,
    hook: &'h Hook,
}

impl Notes<'_> {
    fn key(&self, prefix: &str) -> String {
        format!("{prefix}round_{}_index_{}", self.round, self.index)
    }

    fn failed_open(&self) {
        audit::annotate(&self.key("failed-open.mutation.webhook.admission.k8s.io/"), || {
            self.hook.name.to_string()
        });
    }

    fn mutated(&self, mutated: bool) {
        audit::annotate(&self.key("mutation.webhook.admission.k8s.io/"), || {
            let (configuration, webhook) = (self.hook.configuration.clone(), self.hook.name.clone());
            json::to_string(&value!({"configuration": configuration, "webhook": webhook, "mutated": mutated}))
        });
    }

    /// The patch is part of the request, and told where that is.
    fn patched(&self, operations: &Value) {
        audit::annotate_request(&self.key("patch.webhook.admission.k8s.io/"), || {
            let (configuration, webhook) = (self.hook.configuration.clone(), self.hook.name.clone());
            json::to_string(&value!({
                "configuration": configuration, "webhook": webhook,
                "patch": operations.clone(), "patchType": "JSONPatch",
            }))
        });
    }
}

impl Step for MutatingWebhooks {
    fn mutate<'a>(&'a self, request: &'a mut AdmissionRequest) -> Work<'a, Result<(), Status>> {
        // What is wrong with the hooks is told by the run.
        if self.source.hooks().is_ok_and(|hooks| hooks.is_empty()) {
            return None;
        }
        Some(Box::pin(self.run(request)))
    }
}
