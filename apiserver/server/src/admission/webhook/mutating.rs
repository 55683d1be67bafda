//! `MutatingAdmissionWebhook`: hooks that change the object, one after the other. When one changes it, the in-tree steps
//! and the hooks that want it are run once more.

use futures::future::BoxFuture;
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::patch;
use mainstay_proto_api::Status;

use super::call::{Asked, Asking};
use super::hook::Hook;
use super::review::denied;
use super::source::Source;
use crate::admission::reread::reread;
use crate::admission::step::Step;
use crate::callout::Caller;
use crate::config::Randomness;
use crate::registry::Registry;
use crate::types::AdmissionRequest;

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
        randomness: std::sync::Arc<dyn Randomness>,
    ) -> Result<Self, Status> {
        let source = Source::new(registry.clone(), configurations)?;
        let asking = Asking { registry: registry.clone(), caller, randomness };
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
        for hook in hooks.iter() {
            let Some(form) = self.asking.form(hook, request)? else { continue };
            if again && !request.reinvocation.hooks.due.contains(&hook.key) {
                continue;
            }
            let changed = self.ask(hook, request, form).await?;
            if changed {
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
        hook: &Hook,
        request: &mut AdmissionRequest,
        form: &'static Kind,
    ) -> Result<bool, Status> {
        let Asked::Answered(verdict) = self.asking.ask(hook, request, form, true).await? else {
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

impl Step for MutatingWebhooks {
    fn mutate<'a>(&'a self, request: &'a mut AdmissionRequest) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(self.run(request))
    }
}
