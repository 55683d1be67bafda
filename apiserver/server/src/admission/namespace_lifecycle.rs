//! `NamespaceLifecycle`: nothing is written into a namespace that is not there, nothing new into one that is going,
//! and three namespaces never go.

use mainstay_apiserver_kinds::NAMESPACE;
use mainstay_proto_api::{Status, StatusCause};

use super::step::{Step, Work, at_once, refuse};
use crate::cache::Cached;
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

    /// Nothing has to be waited for where the namespace is in the cache, as it nearly always is.
    fn check<'a>(&'a self, request: &'a AdmissionRequest) -> Work<'a, Result<(), Status>> {
        if *request.kind == NAMESPACE {
            if request.operation == Operation::Delete && IMMORTAL.contains(&request.name.as_str()) {
                return at_once(Err(refuse(request, "this namespace may not be deleted")));
            }
            return None;
        }
        let writes = matches!(request.operation, Operation::Create | Operation::Update);
        if request.namespace.is_empty() || !writes || request.kind.plural == "localsubjectaccessreviews" {
            return None;
        }
        match self.registry.get(&NAMESPACE, "", &request.namespace) {
            Some(cached) => at_once(check_found(request, &cached)),
            None => Some(Box::pin(self.check_fresh(request))),
        }
    }

    async fn check_fresh(&self, request: &AdmissionRequest) -> Result<(), Status> {
        let namespace = request.namespace.as_str();
        match self.registry.get_fresh(&NAMESPACE, "", namespace).await? {
            Some(cached) => check_found(request, &cached),
            None => Err(Status::not_found("", "namespaces", namespace)),
        }
    }
}

fn check_found(request: &AdmissionRequest, namespace: &Cached) -> Result<(), Status> {
    let is_refused = request.operation == Operation::Create && namespace.header.deleting;
    if is_refused { Err(terminating(request)) } else { Ok(()) }
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
    fn mutate<'a>(&'a self, request: &'a mut AdmissionRequest) -> Work<'a, Result<(), Status>> {
        // Upstream's step only validates but is first in the mutating chain's place too: a request that cannot be
        // stored must not allocate anything.
        if request.operation == Operation::Delete { None } else { self.check(request) }
    }

    fn validate<'a>(&'a self, request: &'a AdmissionRequest) -> Work<'a, Result<(), Status>> {
        self.check(request)
    }
}
