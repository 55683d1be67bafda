//! The order of the authenticators: certificate, bearer token, anonymous.
//!
//! As upstream, the first that recognises the caller wins; a credential that is presented and does not hold
//! is 401 even where anonymous callers are let in.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, ready};
use http::request::Parts;
use mainstay_base::lifecycle::Clock;
use rustls::pki_types::{CertificateDer, UnixTime};
use time::OffsetDateTime;

use super::anonymous::Anonymous;
use super::bearer::{self, Bearer};
use super::certificate::{CertificateAuthenticator, CertificateError};
use super::service_account::{self, BindingError, LiveObjects};
use super::token::{TokenError, TokenIssuer};
use crate::types::{Authenticate, AuthnError, Identity};

/// Why a presented credential does not hold. All of them answer 401 `Unauthorized`; the reason is only logged.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// What is in the place of a bearer token is none.
    #[error("the bearer token is malformed")]
    MalformedToken,
    /// The client certificate does not hold.
    #[error("authenticating the client certificate")]
    Certificate(#[from] CertificateError),
    /// The bearer token does not hold.
    #[error("authenticating the bearer token")]
    Token(#[from] TokenError),
    /// The token holds, but what it is bound to is gone.
    #[error("authenticating the service account token")]
    Binding(#[from] BindingError),
}

/// What the authenticator is made of.
pub struct AuthenticatorConfig {
    /// Verifies client certificates.
    pub certificates: CertificateAuthenticator,
    /// Verifies service account tokens.
    pub tokens: Arc<TokenIssuer>,
    /// Live objects that tokens are bound to.
    pub live: Arc<dyn LiveObjects>,
    /// Callers without credentials.
    pub anonymous: Anonymous,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// Authenticates requests.
pub struct Authenticator {
    config: AuthenticatorConfig,
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Authenticator").field("anonymous", &self.config.anonymous).finish_non_exhaustive()
    }
}

impl Authenticator {
    /// An authenticator of these parts.
    pub fn new(config: AuthenticatorConfig) -> Self {
        Self { config }
    }

    /// Who sent the request. `peer_certs` is the chain of the TLS connection, leaf first.
    pub fn identify(
        &self,
        request: &Parts,
        peer_certs: &[CertificateDer<'_>],
    ) -> Result<Identity, AuthnError> {
        let by_certificate = self.by_certificate(peer_certs);
        if let Ok(Some(identity)) = by_certificate {
            return Ok(identity);
        }
        match bearer::find(&request.headers) {
            Bearer::Token(token) => self.by_token(&token, &[]).map_err(|error| invalid(&error)),
            Bearer::Malformed => Err(invalid(&CredentialError::MalformedToken)),
            Bearer::Absent => {
                by_certificate.map_err(|error| invalid(&error))?;
                let user =
                    self.config.anonymous.admit(request.uri.path()).ok_or(AuthnError::NoCredentials)?;
                Ok(Identity { user, ..Identity::default() })
            }
        }
    }

    /// Who the bearer of a token is, for the wanted audiences or else this server's.
    pub fn by_token(&self, token: &str, audiences: &[String]) -> Result<Identity, CredentialError> {
        if token.len() > bearer::TOKEN_BYTES_MAX {
            return Err(CredentialError::MalformedToken);
        }
        let now = self.now();
        let (claims, audiences) = self.config.tokens.verify(token, audiences, now.unix_timestamp())?;
        let mut user = service_account::resolve(&claims, self.config.live.as_ref(), now)?;
        user.mark_authenticated();
        let audiences = audiences.into_iter().map(Into::into).collect();
        Ok(Identity { user, impersonator: None, audiences })
    }

    fn by_certificate(&self, chain: &[CertificateDer<'_>]) -> Result<Option<Identity>, CredentialError> {
        let secs = u64::try_from(self.now().unix_timestamp()).unwrap_or(0);
        let now = UnixTime::since_unix_epoch(Duration::from_secs(secs));
        let user = self.config.certificates.authenticate(chain, now)?;
        Ok(user.map(|mut user| {
            user.mark_authenticated();
            Identity { user, ..Identity::default() }
        }))
    }

    fn now(&self) -> OffsetDateTime {
        self.config.clock.wall()
    }
}

impl Authenticate for Authenticator {
    fn authenticate<'a>(
        &'a self,
        parts: &'a Parts,
        peer_certs: &'a [CertificateDer<'static>],
    ) -> BoxFuture<'a, Result<Identity, AuthnError>> {
        Box::pin(ready(self.identify(parts, peer_certs)))
    }
}

/// The whole chain of causes in one line, for the log.
fn invalid(error: &CredentialError) -> AuthnError {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    AuthnError::Invalid(text)
}
