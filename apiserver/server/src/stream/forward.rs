//! Carries one request to a backend: plain ones with streaming bodies, upgrades by copying both ways.

use std::any::Any;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use http::{StatusCode, Uri, Version};
use http_body_util::BodyExt as _;
use hyper::client::conn::http1::SendRequest;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use mainstay_base::lifecycle::Tasks;
use mainstay_proto_api::Status;
use tracing::debug;

use super::backend::{Backend, BackendError, Target, Trust};
use crate::types::{Body, BodyError, Request, Response, empty_body};

/// Headers that speak of one connection only (RFC 9110, section 7.6.1).
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// Bytes copied at once in each direction of an upgraded connection.
const COPY_BYTES: usize = 32 * 1024;

/// A place among the long-running requests, held for as long as a clone of it lives.
#[derive(Clone)]
pub struct Place(Arc<dyn Any + Send + Sync>);

impl Place {
    /// The place that `permit` stands for.
    pub fn new(permit: Arc<impl Any + Send + Sync>) -> Self {
        Self(permit)
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Place").field("holders", &Arc::strong_count(&self.0)).finish()
    }
}

/// The upgrade that a request asks for, if it does.
pub fn wanted_upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let tokens =
        headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','));
    let mut asked = false;
    for token in tokens {
        asked |= token.trim().eq_ignore_ascii_case("upgrade");
    }
    headers.get(UPGRADE).filter(|_| asked).cloned()
}

/// Sends the request to `target` at `path_and_query` and answers with what comes back.
///
/// # Errors
/// 500 (node agents) or 503 (pods and services) as upstream words them, when the backend cannot be reached.
pub async fn forward(
    backend: &Backend,
    target: &Target,
    path_and_query: &str,
    request: Request,
) -> Result<Response, Status> {
    forward_over(backend.tasks(), target, backend.connect(target), path_and_query, request).await
}

/// As [`forward`], over a connection that the caller makes.
///
/// # Errors
/// As [`forward`].
pub(crate) async fn forward_over(
    tasks: &Tasks,
    target: &Target,
    connection: impl Future<Output = Result<SendRequest<Body>, BackendError>>,
    path_and_query: &str,
    mut request: Request,
) -> Result<Response, Status> {
    let upgrade = wanted_upgrade(request.headers());
    let place = request.extensions().get::<Place>().cloned();
    let client = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
    let outgoing = outgoing(target, path_and_query, request, upgrade.as_ref())?;
    let mut sender = connection.await.map_err(|error| unreachable(target, &error))?;
    let response = sender.send_request(outgoing).await.map_err(|error| unreachable(target, &error))?;
    let response =
        response.map(|body| body.map_err(|error| BodyError::Transport(Box::new(error))).boxed_unsync());
    match client {
        Some(client) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            Ok(joined(tasks, client, response, place))
        }
        Some(_) => Ok(refused(response)),
        None if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            Err(Status::failure(502, "", "the backend switched protocols without being asked to"))
        }
        None => Ok(plain(response)),
    }
}

fn outgoing(
    target: &Target,
    path_and_query: &str,
    request: Request,
    upgrade: Option<&HeaderValue>,
) -> Result<Request, Status> {
    let (mut parts, body) = request.into_parts();
    parts.uri = path_and_query
        .parse::<Uri>()
        .map_err(|error| Status::bad_request(format!("the path cannot be proxied: {error}")))?;
    parts.version = Version::HTTP_11;
    strip_hop_by_hop(&mut parts.headers);
    let host = HeaderValue::from_str(&target.authority())
        .map_err(|error| Status::internal(format!("the backend's address is no header value: {error}")))?;
    parts.headers.insert(HOST, host);
    parts.extensions = http::Extensions::new();
    let body = match upgrade {
        // An upgrade carries nothing before the switch; what follows goes through the joined streams.
        Some(upgrade) => {
            parts.headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
            parts.headers.insert(UPGRADE, upgrade.clone());
            empty_body()
        }
        None => body,
    };
    Ok(Request::from_parts(parts, body))
}

/// Answers 101 and copies between both ends until one of them is done.
fn joined(
    tasks: &Tasks,
    client: OnUpgrade,
    mut response: http::Response<Body>,
    place: Option<Place>,
) -> Response {
    let server = hyper::upgrade::on(&mut response);
    let stop = tasks.token();
    tasks.spawn("proxy-stream", async move {
        let _held = place;
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = copy(client, server) => {}
        }
    });
    let (mut parts, _body) = response.into_parts();
    parts.extensions = http::Extensions::new();
    Response::from_parts(parts, empty_body())
}

async fn copy(client: OnUpgrade, server: OnUpgrade) {
    let (client, server) = match tokio::try_join!(client, server) {
        Ok(both) => both,
        Err(error) => return debug!(%error, "an upgrade did not happen"),
    };
    let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
    match tokio::io::copy_bidirectional_with_sizes(&mut client, &mut server, COPY_BYTES, COPY_BYTES).await {
        Ok((sent, received)) => debug!(sent, received, "a stream ended"),
        Err(error) => debug!(%error, "a stream ended"),
    }
}

/// The backend's refusal of an upgrade, after which the client's connection is closed: nothing that the client has
/// already sent may reach the backend as a request (CVE-2018-1002105).
fn refused(response: http::Response<Body>) -> Response {
    let mut response = plain(response);
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

fn plain(response: http::Response<Body>) -> Response {
    let (mut parts, body) = response.into_parts();
    strip_hop_by_hop(&mut parts.headers);
    parts.extensions = http::Extensions::new();
    parts.version = Version::HTTP_11;
    Response::from_parts(parts, body)
}

fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(*name);
    }
}

fn unreachable(target: &Target, error: &dyn std::error::Error) -> Status {
    let text = crate::failure::with_causes(error);
    match target.trust {
        Trust::NodeAgent => Status::failure(500, "", format!("error dialing backend: {text}")),
        Trust::Anybody | Trust::Plain => {
            Status::service_unavailable(format!("error trying to reach service: {text}"))
        }
    }
}

/// A response without a body, for what has nothing to say yet (the log of a pod that was never placed).
pub fn nothing() -> Response {
    let mut response = Response::new(crate::types::full_body(Bytes::new()));
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn an_upgrade_needs_both_headers() {
        assert_eq!(
            wanted_upgrade(&headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "SPDY/3.1")]))
                .unwrap(),
            "SPDY/3.1"
        );
        assert!(wanted_upgrade(&headers(&[("upgrade", "SPDY/3.1")])).is_none());
        assert!(wanted_upgrade(&headers(&[("connection", "Upgrade")])).is_none());
    }

    #[test]
    fn headers_of_the_connection_stay_on_it() {
        let mut map = headers(&[
            ("connection", "close, x-secret"),
            ("x-secret", "1"),
            ("te", "trailers"),
            ("accept", "*/*"),
        ]);
        strip_hop_by_hop(&mut map);
        assert_eq!(map.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["accept"]);
    }
}
