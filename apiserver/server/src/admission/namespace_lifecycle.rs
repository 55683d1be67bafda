//! `NamespaceLifecycle`: nothing is written into a namespace that is not there, nothing new into one that is going,
//! and three namespaces never go.

use futures::future::BoxFuture;
use mainstay_apiserver_kinds::NAMESPACE;
use mainstay_proto_api::{Status, StatusCause};

use super::step::{Step, refuse};
use crate::registry::Registry;
use crate::types::{AdmissionRequest, Operation};

/// Namespaces that cannot be deleted.
pub const IMMORTAL: &[&str] = &["default", "kube-system", "kube-public"];

/// The step.
pub struct NamespaceLifecycle {
    registry: Registry,
}

impl NamespaceLifecycle {
    /// The step over the cluster's namespaces.
    pub fn new(registry: Registry) -> Self {
        Self { registry }
    }

    async fn check(&self, request: &AdmissionRequest) -> Result<(), Status> {
        if *request.kind == NAMESPACE {
            if request.operation == Operation::Delete && IMMORTAL.contains(&request.name.as_str()) {
                return Err(refuse(request, "this namespace may not be deleted"));
            }
            return Ok(());
        }
        let writes = matches!(request.operation, Operation::Create | Operation::Update);
        if request.namespace.is_empty() || !writes || request.kind.plural == "localsubjectaccessreviews" {
            return Ok(());
        }
        let namespace = request.namespace.as_str();
        let cached = match self.registry.get(&NAMESPACE, "", namespace) {
            Some(cached) => cached,
            None => match self.registry.get_fresh(&NAMESPACE, "", namespace).await? {
                Some(cached) => cached,
                None => return Err(Status::not_found("", "namespaces", namespace)),
            },
        };
        if request.operation == Operation::Create && cached.header.deleting {
            return Err(terminating(request));
        }
        Ok(())
    }
}

fn terminating(request: &AdmissionRequest) -> Status {
    let namespace = request.namespace.as_str();
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    let mut status = refuse(request, why);
    status.details.get_or_insert_default().causes.push(StatusCause {
        reason: "NamespaceTerminating".into(),
        message: format!("namespace {namespace} is being terminated"),
        field: "metadata.namespace".into(),
    });
    status
}

impl Step for NamespaceLifecycle {
    fn mutate<'a>(&'a self, request: &'a mut AdmissionRequest) -> BoxFuture<'a, Result<(), Status>> {
        // Upstream's step only validates but is first in the mutating chain's place too: a request that cannot be
        // stored must not allocate anything.
        Box::pin(async move {
            if request.operation == Operation::Delete { Ok(()) } else { self.check(request).await }
        })
    }

    fn validate<'a>(&'a self, request: &'a AdmissionRequest) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(self.check(request))
    }
}
