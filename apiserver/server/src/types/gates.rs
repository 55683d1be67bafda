//! The gates a request passes, as traits, and the bundle the server is started with.

use std::sync::Arc;

use futures::future::BoxFuture;
use mainstay_proto_api::Status;
use rustls_pki_types::CertificateDer;

use super::{AdmissionRequest, Attributes, Decision, Endpoint, EndpointKey, Identity, UserInfo};

/// Why a request could not be authenticated: always answered 401.
#[derive(Debug, thiserror::Error)]
pub enum AuthnError {
    /// No credentials, and anonymous requests are off.
    #[error("no credentials were given")]
    NoCredentials,
    /// Credentials were given and are not valid; the text is for the log, not for the client.
    #[error("invalid credentials: {0}")]
    Invalid(String),
}

/// Finds the user behind a request.
pub trait Authenticate: Send + Sync {
    /// Looks at headers and the client's certificates; must not read the body. Strips nothing: the caller removes
    /// credentials from the headers afterwards.
    fn authenticate<'a>(
        &'a self,
        parts: &'a http::request::Parts,
        peer_certs: &'a [CertificateDer<'static>],
    ) -> BoxFuture<'a, Result<Identity, AuthnError>>;
}

/// An answer, or the wait for one.
pub enum Verdict<'a> {
    /// What caches say.
    Now(Decision),
    /// What another server says.
    Later(BoxFuture<'a, Decision>),
}

/// Decides whether a user may do something. Mostly that is known at once; only a webhook's answer is waited for.
pub trait Authorize: Send + Sync {
    /// Answers one question.
    fn ask<'a>(&'a self, user: &'a UserInfo, attributes: &'a Attributes) -> Verdict<'a>;
}

impl dyn Authorize + '_ {
    /// The answer to one question.
    pub async fn authorize(&self, user: &UserInfo, attributes: &Attributes) -> Decision {
        match self.ask(user, attributes) {
            Verdict::Now(decision) => decision,
            Verdict::Later(decision) => decision.await,
        }
    }
}

/// The admission steps, in upstream's order.
pub trait Admit: Send + Sync {
    /// Mutating steps.
    ///
    /// # Errors
    /// The refusal, sent to the client as it is.
    fn mutate<'a>(&'a self, request: &'a mut AdmissionRequest) -> BoxFuture<'a, Result<(), Status>>;

    /// Validating steps; run after the kind's own validation.
    ///
    /// # Errors
    /// The refusal, sent to the client as it is.
    fn validate<'a>(&'a self, request: &'a AdmissionRequest) -> BoxFuture<'a, Result<(), Status>>;

    /// Runs after a write ended, so that allocations of a failed or deleted object are given back.
    fn settled<'a>(&'a self, _request: &'a AdmissionRequest, _stored: bool) -> BoxFuture<'a, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// Everything the request path needs from outside its core.
pub struct Assembly {
    /// Authentication.
    pub authenticator: Arc<dyn Authenticate>,
    /// Authorization.
    pub authorizer: Arc<dyn Authorize>,
    /// Admission.
    pub admission: Arc<dyn Admit>,
    /// Special endpoints.
    pub endpoints: Vec<(EndpointKey, Arc<dyn Endpoint>)>,
}
