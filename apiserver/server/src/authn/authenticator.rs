//! The order of the authenticators: front proxy, certificate, bearer token, anonymous.
//!
//! As upstream, the first that recognises the caller wins; a credential that is presented and does not hold
//! is 401 even where anonymous callers are let in.

use std::ops::ControlFlow::{self, Break, Continue};
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, ready};
use http::request::Parts;
use mainstay_base::lifecycle::Clock;
use rustls::pki_types::{CertificateDer, UnixTime};
use time::OffsetDateTime;

use super::anonymous::Anonymous;
use super::bearer::{self, Bearer};
use super::bootstrap_token;
use super::certificate::{CertificateAuthenticator, CertificateError};
use super::front_proxy::FrontProxy;
use super::jwt::{JwtAuthenticator, JwtError};
use super::service_account::{self, BindingError, LiveObjects};
use super::static_tokens::StaticTokens;
use super::token::{TokenError, TokenIssuer, unverified_issuer};
use super::webhook_token::WebhookTokens;
use crate::registry::Registry;
use crate::types::{Authenticate, AuthnError, Identity, UserInfo};

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
    /// Another issuer's token does not hold.
    #[error("authenticating the token of an issuer")]
    Jwt(#[from] JwtError),
    /// The webhook that knows tokens.
    #[error("asking the token webhook: {0}")]
    Webhook(String),
    /// The token is good, but not for the audiences that are wanted.
    #[error("the token is not for the target audiences {0:?}")]
    Audience(Vec<String>),
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
    /// Believes the headers of a proxy.
    pub front_proxy: Option<FrontProxy>,
    /// Tokens of a file.
    pub static_tokens: StaticTokens,
    /// Where bootstrap tokens are kept, if they count.
    pub bootstrap: Option<Registry>,
    /// Other issuers.
    pub jwt: Vec<JwtAuthenticator>,
    /// A webhook that knows tokens.
    pub webhook: Option<WebhookTokens>,
    /// Callers without credentials.
    pub anonymous: Anonymous,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// A token that the cluster itself does not know.
struct Foreign {
    token: String,
    /// Why not.
    failed: CredentialError,
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

    /// Who sent the request, unless it bears a token that others may know. `peer_certs` is the chain of the TLS connection, leaf first.
    fn identify(
        &self,
        request: &Parts,
        peer_certs: &[CertificateDer<'_>],
    ) -> ControlFlow<Result<Identity, AuthnError>, Foreign> {
        match self.by_front_proxy(request, peer_certs) {
            Ok(Some(identity)) => return Break(Ok(identity)),
            Ok(None) => {}
            // Whoever is no proxy may be somebody else.
            Err(error) => tracing::debug!(%error, "a front proxy's headers are not believed"),
        }
        let by_certificate = self.by_certificate(peer_certs);
        if let Ok(Some(identity)) = by_certificate {
            return Break(Ok(identity));
        }
        match bearer::find(&request.headers) {
            Bearer::Token(token) => match self.by_own(&token, &[]) {
                Break(known) => Break(known.map_err(|error| invalid(&error))),
                Continue(failed) => Continue(Foreign { token, failed }),
            },
            Bearer::Malformed => Break(Err(invalid(&CredentialError::MalformedToken))),
            Bearer::Absent => {
                Break(match (by_certificate, self.config.anonymous.admit(request.uri.path())) {
                    (Err(error), _) => Err(invalid(&error)),
                    (Ok(_), None) => Err(AuthnError::NoCredentials),
                    (Ok(_), Some(user)) => Ok(Identity { user: Arc::new(user), ..Identity::default() }),
                })
            }
        }
    }

    /// Who the bearer of a token is, for the wanted audiences or else this server's.
    pub async fn by_token(&self, token: &str, audiences: &[String]) -> Result<Identity, CredentialError> {
        match self.by_own(token, audiences) {
            Break(known) => known,
            Continue(failed) => self.by_others(token, audiences, failed).await,
        }
    }

    /// What the cluster itself says of a token: who its bearer is, that it cannot be one, or why others are to be asked.
    fn by_own(
        &self,
        token: &str,
        audiences: &[String],
    ) -> ControlFlow<Result<Identity, CredentialError>, CredentialError> {
        if token.len() > bearer::TOKEN_BYTES_MAX {
            return Break(Err(CredentialError::MalformedToken));
        }
        if let Some(user) = self.config.static_tokens.find(token) {
            return Break(self.for_audiences(user, audiences));
        }
        let failed = match self.by_service_account(token, audiences) {
            Ok(identity) => return Break(Ok(identity)),
            Err(error) => error,
        };
        if let Some(registry) = &self.config.bootstrap
            && let Some(user) = bootstrap_token::find(registry, token, self.now())
        {
            return Break(self.for_audiences(user, audiences));
        }
        Continue(failed)
    }

    /// Issuers and services outside of the cluster; `failed` is what the cluster's own say.
    async fn by_others(
        &self,
        token: &str,
        audiences: &[String],
        mut failed: CredentialError,
    ) -> Result<Identity, CredentialError> {
        let issuer = if self.config.jwt.is_empty() { None } else { unverified_issuer(token) };
        let of_issuer =
            self.config.jwt.iter().find(|one| issuer.as_deref().is_some_and(|name| one.is_issuer(name)));
        if let Some(jwt) = of_issuer {
            match jwt.authenticate(token, self.now().unix_timestamp()).await {
                Ok(user) => return self.for_audiences(user, audiences),
                Err(error) => failed = error.into(),
            }
        }
        let Some(webhook) = &self.config.webhook else { return Err(failed) };
        let wanted = if audiences.is_empty() { &self.config.tokens.audiences } else { audiences };
        match webhook.find(token, wanted, self.config.clock.now()).await {
            Ok(None) => Err(failed),
            // A webhook that knows no audiences speaks for this server's.
            Ok(Some((user, held))) if held.is_empty() => self.for_audiences(user, audiences),
            Ok(Some((mut user, held))) => {
                let held: Vec<_> =
                    held.into_iter().filter(|one| wanted.iter().any(|wanted| wanted == one)).collect();
                if held.is_empty() {
                    return Err(CredentialError::Audience(wanted.to_vec()));
                }
                user.mark_authenticated();
                Ok(Identity { user: Arc::new(user), impersonator: None, audiences: held })
            }
            Err(why) => Err(CredentialError::Webhook(why)),
        }
    }

    /// The bearer of a token that says nothing of audiences: it is for this server's.
    fn for_audiences(&self, mut user: UserInfo, wanted: &[String]) -> Result<Identity, CredentialError> {
        let own = &self.config.tokens.audiences;
        let held: Vec<_> = own.iter().filter(|one| wanted.is_empty() || wanted.contains(one)).collect();
        if held.is_empty() && !wanted.is_empty() {
            return Err(CredentialError::Audience(wanted.to_vec()));
        }
        user.mark_authenticated();
        Ok(Identity {
            user: Arc::new(user),
            impersonator: None,
            audiences: held.into_iter().map(Into::into).collect(),
        })
    }

    fn by_front_proxy(
        &self,
        request: &Parts,
        chain: &[CertificateDer<'_>],
    ) -> Result<Option<Identity>, CertificateError> {
        let Some(proxy) = &self.config.front_proxy else { return Ok(None) };
        let user = proxy.authenticate(&request.headers, chain, self.unix_now())?;
        Ok(user.map(|mut user| {
            user.mark_authenticated();
            Identity { user: Arc::new(user), ..Identity::default() }
        }))
    }

    fn unix_now(&self) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(
            u64::try_from(self.now().unix_timestamp()).unwrap_or(0),
        ))
    }

    fn by_service_account(&self, token: &str, audiences: &[String]) -> Result<Identity, CredentialError> {
        let now = self.now();
        let (claims, audiences) = self.config.tokens.verify(token, audiences, now.unix_timestamp())?;
        let mut user = service_account::resolve(&claims, self.config.live.as_ref(), now)?;
        user.mark_authenticated();
        let audiences = audiences.into_iter().map(Into::into).collect();
        Ok(Identity { user: Arc::new(user), impersonator: None, audiences })
    }

    fn by_certificate(&self, chain: &[CertificateDer<'_>]) -> Result<Option<Identity>, CredentialError> {
        let user = self.config.certificates.authenticate(chain, self.unix_now())?;
        Ok(user.map(|user| Identity { user, ..Identity::default() }))
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
        match self.identify(parts, peer_certs) {
            // Most callers are known at once: the future that asks others is large, and is made for those alone.
            Break(known) => Box::pin(ready(known)),
            Continue(Foreign { token, failed }) => {
                Box::pin(
                    async move { self.by_others(&token, &[], failed).await.map_err(|error| invalid(&error)) },
                )
            }
        }
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
