//! The span of a request, under the names of upstream's filter.

use http::request::Parts;
use hyper::body::Body as _;
use mainstay_base::telemetry::trace::{Incoming, Span, SpanContext, Tracer, within};
use mainstay_proto_api::Status;
use tokio::time::Instant;

use super::gate::held;
use crate::audit::Asked;
use crate::request::RequestInfo;
use crate::types::{Response, UserInfo};

/// Whose word counts that a trace goes on here, and whether it is recorded; others begin one of their own, as upstream.
const TRUSTED_GROUPS: [&str; 2] = ["system:masters", "system:monitoring"];

/// The span of a request whose head is read and whose caller is known.
pub(super) fn begin(
    tracer: &Tracer,
    parts: &Parts,
    asked: &Asked<'_>,
    caller: &UserInfo,
    began: Instant,
) -> Span {
    let header = |name| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let remote = header("traceparent").and_then(|parent| SpanContext::parse(parent, header("tracestate")));
    let trusted = caller.groups.iter().any(|group| TRUSTED_GROUPS.contains(&group.as_str()));
    let mut span =
        tracer.request(Incoming { remote, trusted }, name(parts.method.as_str(), asked.info), began);
    if span.is_recorded() {
        span.set("http.request.method", parts.method.as_str());
        span.set("url.scheme", "https");
        span.set("url.path", parts.uri.path());
        span.set("http.target", parts.uri.path_and_query().map_or("/", |target| target.as_str()));
        span.set("client.address", asked.peer.addr.ip().to_string());
        span.set("user_agent.original", header("user-agent").unwrap_or_default());
        span.set(
            "network.protocol.version",
            if parts.version == http::Version::HTTP_2 { "2" } else { "1.1" },
        );
        span.set("audit-id", asked.id.as_str());
    }
    span
}

/// Upstream's: the path with what differs from object to object left out.
fn name(method: &str, info: &RequestInfo) -> String {
    if !info.resource_request {
        return method.to_owned();
    }
    let mut name = format!("{method} /{}", info.api_prefix);
    let mut add = |part: &str| {
        if !part.is_empty() {
            name.push('/');
            name.push_str(part);
        }
    };
    add(&info.api_group);
    add(&info.api_version);
    add(if info.namespace.is_empty() { "" } else { "namespaces/{:namespace}" });
    add(&info.resource);
    add(if info.name.is_empty() { "" } else { "{:name}" });
    add(&info.subresource);
    name
}

/// Answers a request below its span, which ends with the answer: a stream's with the stream.
pub(super) async fn traced(
    span: Span,
    answer: impl Future<Output = Result<Response, Status>>,
) -> Result<Response, Status> {
    let (mut span, result) = Box::pin(within(span, answer)).await;
    let code = result.as_ref().map_or_else(|status| status.code, |response| response.status().as_u16());
    span.set("http.response.status_code", i64::from(code));
    if code >= 500 {
        span.fail(result.as_ref().err().map(|status| status.message.clone()).unwrap_or_default());
    }
    match result {
        Ok(response) if response.body().size_hint().exact().is_none() => {
            Ok(response.map(|body| held(body, span)))
        }
        result => result,
    }
}
