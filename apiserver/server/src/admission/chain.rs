//! The chain: every step in upstream's order, the first refusal ends it.

use std::sync::Arc;

use futures::future::BoxFuture;
use mainstay_proto_api::Status;

use super::order::place;
use super::step::Step;
use crate::types::{AdmissionRequest, Admit};

/// A step and the plugins of upstream's that it is; it runs in the place of the first. Or, for a step of our own, what it
/// is about.
pub type Named = (&'static [&'static str], Arc<dyn Step>);

/// The steps in order.
pub struct Chain {
    names: Vec<&'static str>,
    steps: Vec<Arc<dyn Step>>,
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Chain").field("steps", &self.names).finish()
    }
}

impl Chain {
    /// A chain of these steps, each in its place. What is no plugin of upstream's comes last, as it stands here.
    pub fn new(mut steps: Vec<Named>) -> Self {
        steps.sort_by_key(|(plugins, _)| place(plugins.first().copied().unwrap_or_default()));
        let (names, steps): (Vec<_>, Vec<_>) = steps.into_iter().unzip();
        Self { names: names.concat(), steps }
    }

    /// The names of the steps, in order.
    pub fn names(&self) -> &[&'static str] {
        &self.names
    }
}

impl Admit for Chain {
    fn mutate<'a>(&'a self, request: &'a mut AdmissionRequest) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(async move {
            for step in &self.steps {
                if let Some(work) = step.mutate(request) {
                    work.await?;
                }
            }
            if std::mem::take(&mut request.reinvocation.is_wanted) {
                request.reinvocation.is_again = true;
                for step in self.steps.iter().filter(|step| step.runs_again()) {
                    if let Some(work) = step.mutate(request) {
                        work.await?;
                    }
                }
            }
            Ok(())
        })
    }

    fn validate<'a>(&'a self, request: &'a AdmissionRequest) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(async move {
            for step in &self.steps {
                if let Some(work) = step.validate(request) {
                    work.await?;
                }
            }
            Ok(())
        })
    }

    fn settled<'a>(&'a self, request: &'a AdmissionRequest, stored: bool) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            for step in &self.steps {
                if let Some(work) = step.settled(request, stored) {
                    work.await;
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nothing;

    impl Step for Nothing {}

    #[test]
    fn steps_stand_in_upstreams_order_however_they_were_put_together() {
        let steps: [&[&str]; 6] = [
            &["own"],
            &["ResourceQuota"],
            &["PodSecurity", "Priority"],
            &["MutatingAdmissionWebhook"],
            &["NamespaceLifecycle"],
            &["last"],
        ];
        let chain =
            Chain::new(steps.into_iter().map(|name| (name, Arc::new(Nothing) as Arc<dyn Step>)).collect());
        let plugins =
            ["NamespaceLifecycle", "PodSecurity", "Priority", "MutatingAdmissionWebhook", "ResourceQuota"];
        assert_eq!(chain.names(), [&plugins[..], &["own", "last"]].concat());
    }
}
