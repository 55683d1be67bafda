//! Who asks, and whether they may: every service asks here before it does anything.
//!
//! The one hook for authentication: [`Credentials`] are taken from each request, [`acting`] says for whom the store then acts.
use std::sync::Arc;

use tonic::Status;
use tonic::metadata::MetadataMap;

use super::refusal;
use crate::Store;
use crate::api::Caller;

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
    value.to_str().ok().map(Into::into)
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
/// # Errors
/// etcd's status for credentials that are not good.
pub(crate) async fn acting(store: &Store, who: Credentials) -> Result<Store, Status> {
    if !store.auth_enabled() {
        return Ok(store.clone());
    }
    let auth = store.auth();
    let caller = match (who.token, who.certificate) {
        (Some(token), _) => auth.caller_of(&token).await.map_err(|error| refusal::of_auth_call(&error))?,
        (None, Some(certificate)) => auth.identified(&certificate.common_name),
        (None, None) => Caller::Anonymous,
    };
    Ok(store.acting_as(caller))
}
