//! One step of admission.

use futures::future::{BoxFuture, ready};
use mainstay_proto_api::Status;

use crate::types::AdmissionRequest;

/// What a step has to do for a request; none if that is nothing, which it most often is: then no future is made for it.
pub type Work<'a, T> = Option<BoxFuture<'a, T>>;

/// A step: it may change the object, refuse it, and clean up after the write. All parts default to nothing.
pub trait Step: Send + Sync {
    /// Changes the object or refuses the request; runs before the kind's own preparation.
    fn mutate<'a>(&'a self, _request: &'a mut AdmissionRequest) -> Work<'a, Result<(), Status>> {
        None
    }

    /// Refuses the request; runs after the kind's own checks.
    fn validate<'a>(&'a self, _request: &'a AdmissionRequest) -> Work<'a, Result<(), Status>> {
        None
    }

    /// Whether the step mutates once more when a webhook changed the object. Steps that allocate do it once.
    fn runs_again(&self) -> bool {
        true
    }

    /// Runs after the write ended; `stored` says whether what was asked for has happened.
    fn settled<'a>(&'a self, _request: &'a AdmissionRequest, _stored: bool) -> Work<'a, ()> {
        None
    }
}

/// What is known without waiting.
pub(crate) fn at_once<'a>(known: Result<(), Status>) -> Work<'a, Result<(), Status>> {
    known.err().map(|why| Box::pin(ready(Err(why))) as BoxFuture<'a, _>)
}

/// Upstream's refusal of an admission step: 403 about the request's object.
pub fn refuse(request: &AdmissionRequest, why: impl std::fmt::Display) -> Status {
    let name = match request.name.as_str() {
        // As upstream: a generated name is not known yet, its prefix is.
        "" => mainstay_apiserver_machinery::object::Meta(&request.object).generate_name(),
        name => name,
    };
    Status::forbidden(request.kind.group, request.kind.plural, name, why)
}
