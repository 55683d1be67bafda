//! Paths outside the resources: discovery, OpenAPI, version, health, metrics, the dashboard.

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use mainstay_proto_api::Status;

use super::{beats, health};
use crate::authn::user::UNAUTHENTICATED;
use crate::core::Core;
use crate::encoding::raw_response;
use crate::request::RequestContext;
use crate::types::{Request, Response};

pub(super) async fn answer(
    core: &Core,
    context: RequestContext,
    request: Request,
) -> Result<Response, Status> {
    let info = std::sync::Arc::clone(&context.info);
    let path = info.path.as_str();
    let path = if path.len() > 1 { path.strip_suffix('/').unwrap_or(path) } else { path };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return match core.endpoint("", path, "") {
            Some(endpoint) => endpoint.call(context, request).await,
            None => Err(crate::handlers::method_not_allowed()),
        };
    }
    if beats::are_asked_for(&info, &context.query)
        && !context.user().in_group(UNAUTHENTICATED)
        && let Some(answer) = beats::answer(core).await
    {
        return Ok(answer);
    }
    if let Some(answer) = health::answer(core, path, &context.query).await {
        return Ok(answer);
    }
    if let Some(answer) = crate::ui::answer(path, &context.headers) {
        return answer;
    }
    match path {
        "/metrics" => metrics(core, &context),
        "/debug/api_priority_and_fairness/dump_priority_levels" => {
            Ok(plain(&context, core.flow.control.dump_levels()))
        }
        "/debug/api_priority_and_fairness/dump_queues" => {
            Ok(plain(&context, core.flow.control.dump_queues()))
        }
        "/debug/api_priority_and_fairness/dump_requests" => {
            let with_details = context.query.non_empty("includeRequestDetails").is_some();
            Ok(plain(&context, core.flow.control.dump_requests(with_details)))
        }
        "/version" => Ok(crate::discovery::version_response(&context.headers)),
        _ => match (core.documents.answer(path, &context), core.endpoint("", path, "")) {
            (Some(answer), _) => answer,
            (None, Some(endpoint)) => endpoint.call(context, request).await,
            (None, None) => Err(Status::path_not_found()),
        },
    }
}

fn plain(context: &RequestContext, text: String) -> Response {
    let content_type = HeaderValue::from_static("text/plain; charset=utf-8");
    raw_response(&context.headers, content_type, text.into(), StatusCode::OK)
}

fn metrics(core: &Core, context: &RequestContext) -> Result<Response, Status> {
    let text = mainstay_base::telemetry::encode_text(&core.metrics.registry).map_err(Status::internal)?;
    let mut response = raw_response(
        &context.headers,
        HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
        text.into(),
        StatusCode::OK,
    );
    response.headers_mut().entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("text/plain"));
    Ok(response)
}
