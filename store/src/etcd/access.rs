//! Who asks, and whether they may: every service asks here before it does anything.
//!
//! The one hook for authentication: [`Credentials`] are taken from each request, [`acting`] says for whom the store then acts.
use std::sync::Arc;

use tonic::Status;
use tonic::metadata::MetadataMap;

use super::refusal;
use super::token_option::AuthTokens;
use crate::Store;
use crate::api::{AuthCallError, AuthError, Caller};

/// The certificate that a connection's client showed. The listener adds it to every request of the connection.
#[derive(Clone, Debug)]
pub(crate) struct PeerCertificate {
    /// The subject's common name, which is the user's name.
    pub(crate) common_name: Arc<str>,
}

/// What a request brings to prove who sends it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Credentials {
    /// The token of an earlier `Authenticate`.
    pub(crate) token: Option<Box<str>>,
    /// The certificate of the connection.
    pub(crate) certificate: Option<PeerCertificate>,
}

impl Credentials {
    /// Of a request. gRPC clients send the header `token`, the JSON gateway's send `authorization`.
    pub(crate) fn of<T>(request: &tonic::Request<T>) -> Self {
        Self {
            token: token(request.metadata()),
            certificate: request.extensions().get::<PeerCertificate>().cloned(),
        }
    }
}

fn token(metadata: &MetadataMap) -> Option<Box<str>> {
    let value = metadata.get("token").or_else(|| metadata.get("authorization"))?;
    let text = value.to_str().ok()?;
    Some(text.strip_prefix("Bearer ").unwrap_or(text).into())
}

/// What a request needs beside what the store checks itself: calls on a handle of [`acting`] need no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Be somebody.
    Identity,
    /// Be an administrator.
    Admin,
}

impl Need {
    /// Whether the caller of a handle fulfils it.
    ///
    /// # Errors
    /// etcd's status for a caller who may not, or is not known.
    pub(crate) fn check(self, acting: &Store) -> Result<(), Status> {
        let checked = match self {
            Self::Identity => acting.check_known(),
            Self::Admin => acting.check_admin(),
        };
        checked.map_err(refusal::of_auth)
    }
}

/// A handle on the store whose calls are made on behalf of the caller. A token counts before a certificate.
///
/// While authentication is not enabled nobody is asked. The handle acts for somebody all the same: where a write is applied it may be enabled.
///
/// # Errors
/// etcd's status for credentials that are not good.
pub(crate) async fn acting(store: &Store, tokens: &AuthTokens, who: &Credentials) -> Result<Store, Status> {
    let caller = match (&who.token, &who.certificate) {
        _ if !store.auth_enabled() => Caller::Anonymous,
        // In a box, as it is rare: every request would carry the room for it.
        (Some(token), _) => Box::pin(caller_of(store, tokens, token)).await?,
        (None, Some(certificate)) => store.auth().identified(&certificate.common_name),
        (None, None) => Caller::Anonymous,
    };
    Ok(store.acting_as(caller))
}

async fn caller_of(store: &Store, tokens: &AuthTokens, token: &str) -> Result<Caller, Status> {
    match tokens {
        AuthTokens::Simple => {
            store.auth().caller_of(token).await.map_err(|error| refusal::of_auth_call(&error))
        }
        AuthTokens::Jwt(jwt) => {
            jwt.caller(token).ok_or_else(|| refusal::of_auth(AuthError::InvalidAuthToken))
        }
    }
}

/// A token for a user who knows the password.
///
/// # Errors
/// etcd's status for a wrong password, and for a member that cannot sign.
pub(crate) async fn authenticate(
    store: &Store,
    tokens: &AuthTokens,
    name: &str,
    password: &str,
) -> Result<String, Status> {
    let refuse = |error: AuthCallError| refusal::of_auth_call(&error);
    let jwt = match tokens {
        AuthTokens::Simple => return store.auth().authenticate(name, password).await.map_err(refuse),
        AuthTokens::Jwt(jwt) => jwt,
    };
    let Caller::User { name, auth_revision } = store.auth().login(name, password).await.map_err(refuse)?
    else {
        return Err(refuse(AuthError::AuthFailed.into()));
    };
    match jwt.sign(&name, auth_revision) {
        Ok(Some(token)) => Ok(token),
        Ok(None) => Err(Status::unknown("auth: token signing attempted with verify-only key")),
        Err(error) => Err(Status::internal(error.to_string())),
    }
}
