//! What is known about a request once its head is read.

use std::net::SocketAddr;
use std::sync::Arc;

use mainstay_apiserver_machinery::kind::Kind;
use rustls_pki_types::CertificateDer;
use smol_str::SmolStr;
use tokio::time::Instant;

use super::{Query, RequestInfo};
use crate::flow::Seat;
use crate::handlers::Writer;
use crate::types::{Identity, UserInfo};

/// The other end of the connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its address.
    pub addr: SocketAddr,
    /// The client's verified certificate chain, leaf first; empty without one.
    pub certs: Arc<[CertificateDer<'static>]>,
}

/// Everything about a request but its body.
#[derive(Debug, Clone)]
pub struct RequestContext {
    /// Who asks.
    pub identity: Arc<Identity>,
    /// What is asked.
    pub info: Arc<RequestInfo>,
    /// The query parameters.
    pub query: Arc<Query>,
    /// The request's headers, without credentials.
    pub headers: Arc<http::HeaderMap>,
    /// The kind the resource in the path belongs to, where it is a known one.
    pub kind: Option<&'static Kind>,
    /// The other end.
    pub peer: Peer,
    /// The way to change stored objects, through admission and the kinds' rules; the registry is behind it.
    pub writer: Writer,
    /// The longest body that is read.
    pub body_bytes_max: usize,
    /// The value of the `Audit-Id` header of request and response.
    pub audit_id: SmolStr,
    /// When the request must be answered; long-running requests have none.
    pub deadline: Option<Instant>,
    /// The seats that a watch takes until its first events are told; none for other requests.
    pub(crate) seat: Option<Arc<Seat>>,
}

impl RequestContext {
    /// The user the request runs as.
    pub fn user(&self) -> &Arc<UserInfo> {
        &self.identity.user
    }
}
