//! Requests under `/api` and `/apis`: to an endpoint, or to a stored resource.

use std::sync::Arc;

use mainstay_proto_api::Status;

use crate::core::Core;
use crate::handlers::{self, Call};
use crate::request::{RequestContext, RequestInfo};
use crate::types::{Endpoint, Request, Response};

/// Subresources that stay open, as upstream tells them by name.
const STREAMS: [&str; 5] = ["attach", "exec", "log", "portforward", "proxy"];

/// Whether the path names something that is served (only then may its words become metric labels), and whether the
/// request stays open.
pub(super) fn classify(core: &Core, info: &RequestInfo) -> (bool, bool) {
    let Some(kind) = core.kind(&info.api_group, &info.api_version, &info.resource) else {
        // Of another server's resources only the verb tells; they are counted as unknown.
        let is_remote = info.resource_request && core.registry.aggregated().find(&info.path).is_some();
        let stays_open = info.verb == "watch" || STREAMS.contains(&info.subresource.as_str());
        return (false, is_remote && stays_open);
    };
    let endpoint = endpoint(core, info);
    let known =
        endpoint.is_some() || info.subresource.is_empty() || kind.subresource(&info.subresource).is_some();
    let long_running = info.verb == "watch" || endpoint.is_some_and(|endpoint| endpoint.long_running());
    (known, known && long_running)
}

/// The endpoint of a served version's resource.
fn endpoint<'a>(core: &'a Core, info: &RequestInfo) -> Option<&'a Arc<dyn Endpoint>> {
    core.kind(&info.api_group, &info.api_version, &info.resource)?;
    core.endpoint(&info.api_group, &info.resource, &info.subresource)
}

pub(super) async fn answer(
    core: &Arc<Core>,
    context: RequestContext,
    request: Request,
) -> Result<Response, Status> {
    if let Some(endpoint) = endpoint(core, &context.info) {
        return endpoint.call(context, request).await;
    }
    let kind = context.kind.filter(|kind| kind.is_stored()).ok_or_else(Status::path_not_found)?;
    let call = Call::new(core, &context, kind);
    Box::pin(handlers::handle(&call, request.into_body())).await
}
