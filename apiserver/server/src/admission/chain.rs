//! The chain: every step in turn, the first refusal ends it.

use futures::future::BoxFuture;
use mainstay_proto_api::Status;

use super::step::Step;
use crate::types::{AdmissionRequest, Admit};

/// The steps in order.
pub struct Chain {
    steps: Vec<std::sync::Arc<dyn Step>>,
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Chain").field("steps", &self.steps.len()).finish()
    }
}

impl Chain {
    /// A chain of these steps.
    pub fn new(steps: Vec<std::sync::Arc<dyn Step>>) -> Self {
        Self { steps }
    }
}

impl Admit for Chain {
    fn mutate<'a>(&'a self, request: &'a mut AdmissionRequest) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(async move {
            for step in &self.steps {
                step.mutate(request).await?;
            }
            if std::mem::take(&mut request.reinvocation.is_wanted) {
                request.reinvocation.is_again = true;
                for step in self.steps.iter().filter(|step| step.runs_again()) {
                    step.mutate(request).await?;
                }
            }
            Ok(())
        })
    }

    fn validate<'a>(&'a self, request: &'a AdmissionRequest) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(async move {
            for step in &self.steps {
                step.validate(request).await?;
            }
            Ok(())
        })
    }

    fn settled<'a>(&'a self, request: &'a AdmissionRequest, stored: bool) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            for step in &self.steps {
                step.settled(request, stored).await;
            }
        })
    }
}
