//! Body types: one boxed body for requests and responses, so that upgrades, streams and plain bytes look alike.

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The body is longer than the server reads.
    #[error("limit is {limit_bytes}")]
    TooLarge {
        /// The limit, in bytes.
        limit_bytes: usize,
    },
    /// The connection failed below us.
    #[error("reading the body")]
    Transport(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The producer of a response gave up.
    #[error("{0}")]
    Producer(String),
}

/// A request or response body.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;
/// A request; `hyper::upgrade::on` works on it.
pub type Request = http::Request<Body>;
/// A response.
pub type Response = http::Response<Body>;

/// A body of known bytes.
pub fn full_body(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body of nothing.
pub fn empty_body() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}
