//! `ValidatingAdmissionWebhook`: hooks that refuse, all asked at once.

use std::sync::Arc;

use futures::future::join_all;
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_proto_api::Status;

use super::call::{Asked, Asking};
use super::review::denied;
use super::source::Source;
use crate::admission::step::{Step, Work};
use crate::audit;
use crate::callout::Caller;
use crate::config::Randomness;
use crate::registry::Registry;
use crate::types::{AdmissionRequest, Authorize};

/// How keys of the audit log begin that tell of a hook which could not be asked.
const FAILED_OPEN: &str = "failed-open.validating.webhook.admission.k8s.io/round_0_index_";

/// The step.
pub struct ValidatingWebhooks {
    source: Source,
    asking: Asking,
}

impl ValidatingWebhooks {
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

    async fn run(&self, request: &AdmissionRequest) -> Result<(), Status> {
        let hooks = self.source.hooks()?;
        let mut asked = Vec::new();
        for (at, hook) in hooks.iter().enumerate() {
            if let Some(form) = self.asking.form(hook, request).await? {
                asked.push(async move {
                    match self.asking.ask(hook, request, form, false).await? {
                        Asked::Answered(verdict) if !verdict.allowed => Err(denied(hook, verdict.status)),
                        Asked::Answered(_) => Ok(()),
                        Asked::Skipped => {
                            audit::annotate(&format!("{FAILED_OPEN}{at}"), || hook.name.to_string());
                            Ok(())
                        }
                    }
                });
            }
        }
        // The first refusal in the hooks' order is told, whichever came first in time.
        join_all(asked).await.into_iter().collect()
    }
}

impl Step for ValidatingWebhooks {
    fn validate<'a>(&'a self, request: &'a AdmissionRequest) -> Work<'a, Result<(), Status>> {
        // What is wrong with the hooks is told by the run.
        if self.source.hooks().is_ok_and(|hooks| hooks.is_empty()) {
            return None;
        }
        Some(Box::pin(self.run(request)))
    }
}
