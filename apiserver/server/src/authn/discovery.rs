//! The two documents by which others verify service account tokens: OIDC discovery and the key set.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures::future::{BoxFuture, ready};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method};
use mainstay_proto_api::Status;
use serde_json::{Value, json};

use super::token::TokenIssuer;
use crate::request::RequestContext;
use crate::types::{Endpoint, Request, Response, full_body};

/// Path of the discovery document.
pub const CONFIGURATION_PATH: &str = "/.well-known/openid-configuration";
/// Path of the key set.
pub const JWKS_PATH: &str = "/openid/v1/jwks";
/// Media type of the key set.
pub const JWKS_MEDIA_TYPE: &str = "application/jwk-set+json";

/// The discovery document of the issuer. `jwks_uri` is where clients reach [`JWKS_PATH`].
pub fn configuration(issuer: &TokenIssuer, jwks_uri: &str) -> Value {
    json!({
        "issuer": issuer.issuer(),
        "jwks_uri": jwks_uri,
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": issuer.keys.algorithms(),
    })
}

/// The key set of the issuer, serialized.
pub fn jwks(issuer: &TokenIssuer) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&issuer.keys.jwks())
}

/// Serves both documents; which one follows from the path.
#[derive(Debug)]
pub struct IssuerDocument {
    issuer: Arc<TokenIssuer>,
    server: OnceLock<SocketAddr>,
}

impl IssuerDocument {
    /// The documents of `issuer`.
    pub fn new(issuer: Arc<TokenIssuer>) -> Self {
        Self { issuer, server: OnceLock::new() }
    }

    /// Says where this server is reached, which the discovery document names. The first call counts.
    pub fn set_server(&self, server: SocketAddr) {
        self.server.get_or_init(|| server);
    }

    fn document(&self, request: &Request) -> Result<Response, Status> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Err(Status::failure(405, "MethodNotAllowed", "only GET is supported"));
        }
        let failed = |error: serde_json::Error| Status::internal(error);
        let (media, body) = if request.uri().path() == JWKS_PATH {
            (JWKS_MEDIA_TYPE, jwks(&self.issuer).map_err(failed)?)
        } else {
            let server =
                self.server.get().ok_or_else(|| Status::service_unavailable("the server is starting"))?;
            let document = configuration(&self.issuer, &format!("https://{server}{JWKS_PATH}"));
            ("application/json", serde_json::to_vec(&document).map_err(failed)?)
        };
        let mut response = Response::new(full_body(Bytes::from(body)));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
        Ok(response)
    }
}

impl Endpoint for IssuerDocument {
    fn call(&self, _context: RequestContext, request: Request) -> BoxFuture<'_, Result<Response, Status>> {
        Box::pin(ready(self.document(&request)))
    }
}
