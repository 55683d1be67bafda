//! Room for a request, held until its answer is under way; watches hold theirs until the stream ends.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use mainstay_proto_api::Status;
use prometheus::IntGauge;
use tokio::sync::OwnedSemaphorePermit;

use super::trail_slot::TrailSlot;
use crate::audit::Trail;
use crate::core::Core;
use crate::flow::Seat;
use crate::request::{Query, RequestInfo};
use crate::types::{Attributes, Response, UserInfo, full_body};

/// A place among the requests in flight. Dropping it makes room.
pub(super) struct Permit {
    _room: Option<OwnedSemaphorePermit>,
    /// The seats of its priority level; a watch gives them up when it has begun.
    pub(super) seat: Option<Seat>,
    gauge: IntGauge,
    /// The trail of a stream, which ends with it.
    pub(super) trail: Option<Arc<Trail>>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

/// Objects that a list shows for one seat, and the most seats that it takes; upstream's.
const OBJECTS_PER_SEAT: usize = 100;
const LIST_SEATS_MAX: usize = 10;
/// The part of a request's time that it may wait for a seat, as upstream.
const WAIT_SHARE: u32 = 4;

/// What a request that asks for room is about.
pub(super) struct Asking<'a> {
    pub(super) core: &'a Core,
    pub(super) user: &'a UserInfo,
    pub(super) info: &'a RequestInfo,
    pub(super) attributes: &'a Attributes,
    pub(super) query: &'a Query,
    /// The time that its answer may take.
    pub(super) limit: Duration,
}

/// Why there is no room.
pub(super) enum NoRoom {
    /// Its priority level has none; come back after so many seconds.
    Level(u64),
    /// Too many streams are open, or nothing says which level it is of.
    Refused(Status),
}

impl Asking<'_> {
    /// Finds room for the request, waiting for its turn where its priority level queues.
    ///
    /// # Errors
    /// [`NoRoom`] when there is none.
    pub(super) async fn permit(&self, slot: &TrailSlot, long_running: bool) -> Result<Permit, NoRoom> {
        let is_watch = self.info.verb == "watch";
        if long_running && !is_watch {
            return self.stream().map_err(NoRoom::Refused);
        }
        let core = self.core;
        let Some(flow) = core.flow.control.classify(self.user, self.attributes) else {
            return Err(NoRoom::Refused(Status::internal("the request belongs to no flow")));
        };
        slot.classified(&flow);
        let about = (self.user, self.attributes);
        let seat = core.flow.control.seat(&flow, about, self.seats(), self.limit / WAIT_SHARE);
        let Some(seat) = seat.await else {
            core.metrics.terminations.with_label_values(&["429"]).inc();
            let now = u64::try_from(core.clock.wall().unix_timestamp()).unwrap_or(0);
            return Err(NoRoom::Level(flow.turned_away(now)));
        };
        if long_running {
            let mut permit = self.stream().map_err(NoRoom::Refused)?;
            permit.seat = Some(seat);
            return Ok(permit);
        }
        let kind = if is_read(self.info) { "readOnly" } else { "mutating" };
        let gauge = core.metrics.inflight.with_label_values(&[kind]);
        gauge.inc();
        Ok(Permit { _room: None, seat: Some(seat), gauge, trail: None })
    }

    /// Streams have room of their own: they are open for long, and cost little once they have begun.
    fn stream(&self) -> Result<Permit, Status> {
        let (metrics, info) = (&self.core.metrics, self.info);
        let labels = [&info.verb, &info.api_group, &info.api_version, &info.resource, &info.subresource];
        let [verb, group, version, resource, subresource] = labels.map(smol_str::SmolStr::as_str);
        let labels = [verb, group, version, resource, subresource, scope(info), "apiserver"];
        let gauge = metrics.long_running.with_label_values(&labels);
        let Ok(room) = Arc::clone(&self.core.flow.long_running).try_acquire_owned() else {
            metrics.terminations.with_label_values(&["429"]).inc();
            return Err(Status::too_many_requests(TOO_MANY, 1));
        };
        gauge.inc();
        Ok(Permit { _room: Some(room), seat: None, gauge, trail: None })
    }

    /// The seats that the request takes: a list takes more the more it shows, and so does a watch that begins with a list.
    fn seats(&self) -> u32 {
        let begins_with_list = || {
            let version = self.query.non_empty("resourceVersion");
            self.query.is_true("sendInitialEvents") || matches!(version, None | Some("0"))
        };
        let lists = match self.info.verb.as_str() {
            "list" => true,
            "watch" => begins_with_list(),
            _ => false,
        };
        // What pins one name is read like a get.
        if !lists || !self.info.name.is_empty() {
            return 1;
        }
        let (info, registry) = (self.info, &self.core.registry);
        let Some(kind) = self.core.kind(&info.api_group, &info.api_version, &info.resource) else { return 1 };
        let stored = registry.snapshot(kind).map_or(0, |snapshot| snapshot.len());
        let asked = self.query.non_empty("limit").and_then(|limit| limit.parse::<usize>().ok());
        let shown = asked.filter(|limit| *limit > 0).map_or(stored, |limit| stored.min(limit));
        shown.div_ceil(OBJECTS_PER_SEAT).clamp(1, LIST_SEATS_MAX) as u32
    }
}

const TOO_MANY: &str = "Too many requests, please try again later.";

/// The answer to a request that its priority level has no room for: plain text, as upstream has it.
pub(super) fn turned_away(seconds: u64) -> Response {
    let mut response = http::Response::new(full_body(format!("{TOO_MANY}\n")));
    *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    let headers = response.headers_mut();
    headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
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
