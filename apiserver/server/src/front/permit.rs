//! Room for a request, held until its answer is under way; watches hold theirs until the stream ends.

use std::sync::Arc;

use mainstay_proto_api::Status;
use prometheus::IntGauge;
use tokio::sync::OwnedSemaphorePermit;

use crate::audit::Trail;
use crate::core::Core;
use crate::request::RequestInfo;
use crate::types::UserInfo;

/// A place among the requests in flight. Dropping it makes room.
pub(super) struct Permit {
    _room: Option<OwnedSemaphorePermit>,
    gauge: IntGauge,
    /// The trail of a stream, which ends with it.
    pub(super) trail: Option<Arc<Trail>>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

/// The group whose requests are never turned away.
const EXEMPT: &str = "system:masters";

/// Finds room for a request.
///
/// # Errors
/// 429 when there is none.
pub(super) fn admit(
    core: &Core,
    user: &UserInfo,
    info: &RequestInfo,
    long_running: bool,
) -> Result<Permit, Status> {
    let metrics = &core.metrics;
    let (room, gauge) = if long_running {
        let scope = scope(info);
        let labels = [&info.verb, &info.api_group, &info.api_version, &info.resource, &info.subresource];
        let [verb, group, version, resource, subresource] = labels.map(smol_str::SmolStr::as_str);
        let gauge = metrics.long_running.with_label_values(&[
            verb,
            group,
            version,
            resource,
            subresource,
            scope,
            "apiserver",
        ]);
        (&core.flow.long_running, gauge)
    } else if is_read(info) {
        (&core.flow.reads, metrics.inflight.with_label_values(&["readOnly"]))
    } else {
        (&core.flow.writes, metrics.inflight.with_label_values(&["mutating"]))
    };
    let room = match Arc::clone(room).try_acquire_owned() {
        Ok(permit) => Some(permit),
        Err(_full) if user.in_group(EXEMPT) && !long_running => None,
        Err(_full) => {
            metrics.terminations.with_label_values(&["429"]).inc();
            return Err(Status::too_many_requests("Too many requests, please try again later.", 1));
        }
    };
    gauge.inc();
    Ok(Permit { _room: room, gauge, trail: None })
}

fn is_read(info: &RequestInfo) -> bool {
    matches!(info.verb.as_str(), "get" | "list" | "watch" | "head" | "options")
}

/// Upstream's `scope` label.
pub(super) fn scope(info: &RequestInfo) -> &'static str {
    if !info.resource_request {
        ""
    } else if info.is_object_path() {
        "resource"
    } else if info.namespace.is_empty() {
        "cluster"
    } else {
        "namespace"
    }
}
