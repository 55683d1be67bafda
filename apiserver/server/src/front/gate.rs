//! The path of one request, from its head to its answer. Never fails: every error becomes an answer here.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, HeaderMap, HeaderValue, LOCATION};
use http::request::Parts;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use mainstay_apiserver_machinery::scalar::parse_duration;
use mainstay_proto_api::Status;
use smol_str::SmolStr;
use tracing::{Instrument, debug, debug_span, error};

use super::audit::{AUDIT_ID, audit_id};
use super::permit::{Asking, NoRoom, turned_away};
use super::trail_slot::TrailSlot;
use super::{beats, nonresource, record, resource, traced};
use crate::aggregation::AGGREGATOR;
use crate::audit;
use crate::authn::{bearer, impersonation, impersonation_modes};
use crate::authz::forbidden;
use crate::core::Core;
use crate::request::{PathError, Peer, Query, RequestContext, RequestInfo, normalise_path, respond_status};
use crate::stream::forward::Place;
use crate::types::{Attributes, Body, BodyError, Decision, Identity, Request, Response, empty_body};

/// Methods that some path may have.
const METHODS: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];

/// What the audit log says of the authorization.
const DECISION: &str = "authorization.k8s.io/decision";
const REASON: &str = "authorization.k8s.io/reason";

/// Answers one request.
pub(crate) async fn serve(
    core: Arc<Core>,
    peer: Peer,
    request: http::Request<hyper::body::Incoming>,
) -> Response {
    let mut random = [0; 16];
    core.randomness.fill(&mut random);
    let id = audit_id(request.headers(), random);
    let span = debug_span!("request", id = %id, method = %request.method(), path = request.uri().path());
    let headers = HeaderMap::clone(request.headers());
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let request =
        request.map(|body| body.map_err(|error| BodyError::Transport(Box::new(error))).boxed_unsync());
    let slot = TrailSlot::default();
    let head = Head { query: &query, id: &id, slot: &slot };
    let is_head = *request.method() == Method::HEAD;
    let answer = AssertUnwindSafe(answer(&core, peer, request, head)).catch_unwind().instrument(span);
    let mut response = match answer.await {
        Ok(Ok(response)) => slot.answered(response, None).await,
        Ok(Err(status)) => slot.answered(respond_status(&headers, &query, &status), Some(&status)).await,
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("no message");
            error!(panic = text, audit_id = %id, "a handler panicked");
            slot.panicked(text).await;
            let why = "This request caused apiserver to panic. Look in the logs for details.";
            respond_status(&headers, &query, &Status::failure(500, "InternalError", why))
        }
    };
    finish_headers(&mut response, &id);
    slot.name_flow(&mut response);
    if is_head { without_body(response) } else { response }
}

/// The answer to a HEAD: HTTP/2 would carry a body that clients take for a broken stream.
fn without_body(response: Response) -> Response {
    let length = response.body().size_hint().exact();
    let mut response = response.map(|_body| empty_body());
    if let Some(length) = length {
        response.headers_mut().entry(CONTENT_LENGTH).or_insert(length.into());
    }
    response
}

/// What is known of a request beside its head.
#[derive(Clone, Copy)]
struct Head<'a> {
    query: &'a Query,
    id: &'a SmolStr,
    slot: &'a TrailSlot,
}

fn finish_headers(response: &mut Response, id: &SmolStr) {
    if let Ok(value) = HeaderValue::from_str(id) {
        response.headers_mut().insert(AUDIT_ID, value);
    }
    if !response.headers().contains_key(CACHE_CONTROL) {
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    }
}

async fn answer(core: &Arc<Core>, peer: Peer, request: Request, head: Head<'_>) -> Result<Response, Status> {
    let query = head.query;
    if !METHODS.contains(request.method()) {
        return Err(crate::handlers::method_not_allowed());
    }
    let path = match normalise_path(request.uri().path()) {
        Ok(path) => path,
        Err(PathError::NeedsRedirect(to)) => return redirect(request.method(), &to, request.uri().query()),
        Err(PathError::Ambiguous | PathError::Encoding) => return Err(Status::path_not_found()),
    };
    let info = RequestInfo::parse(request.method(), &path, query);
    let started = core.clock.now();
    let (known, long_running) = resource::classify(core, &info);
    let long_running = long_running || beats::are_asked_for(&info, query);
    let result = Box::pin(permitted(core, peer, request, (&info, head), long_running)).await;
    let answered = match &result {
        Ok(response) => response.status().as_u16(),
        Err(status) => status.code,
    };
    let took = core.clock.now().saturating_duration_since(started);
    let figures = record::Figures { known, code: answered, took: (!long_running).then_some(took) };
    record::record(core, &info, query, &figures);
    debug!(code = answered, took_us = took.as_micros(), "answered");
    result
}

/// Upstream's mux sends clients of unclean paths to the clean one; only reads are safe to repeat.
fn redirect(method: &Method, to: &str, query: Option<&str>) -> Result<Response, Status> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Err(Status::path_not_found());
    }
    let target = query.map_or_else(|| to.to_owned(), |query| format!("{to}?{query}"));
    let location = HeaderValue::from_str(&target).map_err(|_invalid| Status::path_not_found())?;
    let mut response = http::Response::new(empty_body());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}

async fn permitted(
    core: &Arc<Core>,
    peer: Peer,
    request: Request,
    (info, head): (&RequestInfo, Head<'_>),
    long_running: bool,
) -> Result<Response, Status> {
    let (parts, body) = request.into_parts();
    let tracer = core.tracer.as_ref().map(|tracer| (tracer, core.clock.now()));
    let asked = audit::Asked { id: head.id, info, peer: &peer, long_running, received: core.clock.wall() };
    let caller = match core.authenticator.authenticate(&parts, &peer.certs).await {
        Ok(caller) => caller,
        Err(why) => {
            debug!(error = %why, "not authenticated");
            head.slot.unauthenticated(core, &asked, &parts).await;
            return Err(Status::unauthorized());
        }
    };
    let trail = head.slot.begin(core, &asked, &parts, &caller).await?;
    // Only now, as upstream: whoever is known may say what is recorded.
    let span = tracer.map(|(tracer, began)| traced::begin(tracer, &parts, &asked, &caller.user, began));
    let known = Known { peer, caller, trail, long_running };
    let request = (parts, body);
    match span {
        None => admitted(core, known, request, (info, head)).await,
        Some(span) => traced::traced(span, admitted(core, known, request, (info, head))).await,
    }
}

/// What is known of a request once its caller is.
struct Known {
    peer: Peer,
    caller: Identity,
    trail: Option<Arc<audit::Trail>>,
    long_running: bool,
}

async fn admitted(
    core: &Arc<Core>,
    known: Known,
    (parts, mut body): (Parts, Body),
    (info, head): (&RequestInfo, Head<'_>),
) -> Result<Response, Status> {
    let Known { peer, caller, trail, long_running } = known;
    let attributes = info.attributes();
    let asked = (&*core.authorizer, &core.impersonators);
    let acting = impersonation_modes::act_as(&parts.headers, &attributes, &caller, asked).await?;
    let identity = acting.identity;
    if let Some(trail) = &trail {
        if identity.impersonator.is_some() {
            trail.impersonates(&identity.user, acting.constraint);
        }
        body = audit::listened(body, trail);
    }
    let mut request = http::Request::from_parts(parts, body);
    strip_credentials(request.headers_mut());
    if trail.as_ref().is_some_and(|trail| trail.wants_response()) {
        // The event holds the answer as it is, not as it is compressed.
        request.headers_mut().remove(http::header::ACCEPT_ENCODING);
    }
    let (query, id) = (head.query, head.id);
    let limit = time_limit(core, query, long_running)?;
    let user = &identity.user;
    let asking = Asking { core, user, info, attributes: &attributes, query, limit };
    let mut permit = match asking.permit(head.slot, long_running).await {
        Ok(permit) => permit,
        Err(NoRoom::Level(seconds)) => return Ok(turned_away(seconds)),
        Err(NoRoom::Refused(status)) => return Err(status),
    };
    let allowed = authorize(core, &identity, info, &attributes);
    let allowed = audit::with_trail(trail.clone(), allowed);
    tokio::time::timeout(limit, allowed).await.unwrap_or_else(|_elapsed| Err(too_late(core)))?;
    let seat = if long_running { permit.seat.take().map(Arc::new) } else { None };
    let context = RequestContext {
        headers: Arc::new(request.headers().clone()),
        identity: Arc::new(identity),
        kind: core.kind(&info.api_group, &info.api_version, &info.resource),
        info: Arc::new(info.clone()),
        query: Arc::new(query.clone()),
        peer,
        writer: core.writer.clone(),
        body_bytes_max: core.limits.body_bytes_max,
        audit_id: id.clone(),
        deadline: (!long_running).then(|| core.clock.now() + core.limits.request_timeout),
        seat,
    };
    if long_running {
        // An upgraded stream outlives its response, and keeps the place (and with it the trail) for itself.
        permit.trail.clone_from(&trail);
        let permit = Arc::new(permit);
        request.extensions_mut().insert(Place::new(Arc::clone(&permit)));
        let response = audit::with_trail(trail, dispatch(core, context, request)).await?;
        return Ok(response.map(|body| held(body, permit)));
    }
    let answer = audit::with_trail(trail, dispatch(core, context, request));
    match tokio::time::timeout(limit, answer).await {
        // A streamed list takes its seats until it is read; others are made by now.
        Ok(Ok(response)) if response.body().size_hint().exact().is_none() => {
            let permit = Arc::new(permit);
            Ok(response.map(|body| held(body, permit)))
        }
        Ok(result) => result,
        Err(_elapsed) => Err(too_late(core)),
    }
}

fn too_late(core: &Core) -> Status {
    core.metrics.terminations.with_label_values(&["504"]).inc();
    Status::timeout("request did not complete within the allotted timeout", 0)
}

/// The time that an answer may take: what the client says, where that is less than the server's own limit.
///
/// # Errors
/// 400 for a time that cannot be read, unless the request is long-running.
fn time_limit(core: &Core, query: &Query, long_running: bool) -> Result<Duration, Status> {
    let limit = core.limits.request_timeout;
    let Some(text) = query.non_empty("timeout").filter(|_| !long_running) else { return Ok(limit) };
    let asked = parse_duration(text).map_err(|why| {
        Status::bad_request(format!("invalid timeout specified in the request URL - {why}"))
    })?;
    let asked = u64::try_from(asked).ok().filter(|nanoseconds| *nanoseconds > 0);
    Ok(asked.map_or(limit, |nanoseconds| Duration::from_nanos(nanoseconds).min(limit)))
}

async fn dispatch(core: &Arc<Core>, context: RequestContext, request: Request) -> Result<Response, Status> {
    if core.registry.aggregated().find(&context.info.path).is_some()
        && let Some(aggregator) = core.endpoint(AGGREGATOR, "", "")
    {
        return aggregator.call(context, request).await;
    }
    if context.info.resource_request {
        resource::answer(core, context, request).await
    } else {
        // These are few, and some of them large: they make no others' futures larger.
        Box::pin(nonresource::answer(core, context, request)).await
    }
}

async fn authorize(
    core: &Core,
    identity: &Identity,
    info: &RequestInfo,
    attributes: &Attributes,
) -> Result<(), Status> {
    match core.authorizer.authorize(&identity.user, attributes).await {
        Decision::Allow(reason) => {
            audit::annotate(DECISION, || "allow".to_owned());
            audit::annotate(REASON, || reason);
            Ok(())
        }
        Decision::Deny(reason) | Decision::NoOpinion(reason) => {
            audit::annotate(DECISION, || "forbid".to_owned());
            audit::annotate(REASON, || reason.clone());
            let why = forbidden::message(&identity.user, attributes, &reason);
            Err(Status::forbidden(&info.api_group, &info.resource, &info.name, why))
        }
        Decision::Failed { error, .. } => {
            audit::annotate(REASON, || "internal error".to_owned());
            Err(Status::internal(format!("Internal Server Error: {:?}: {error}", info.path.as_str())))
        }
    }
}

/// Credentials end here: nothing behind sees or forwards them.
fn strip_credentials(headers: &mut HeaderMap) {
    bearer::strip(headers);
    impersonation::strip(headers);
}

/// A body that keeps something, such as its request's place, until it ends.
pub(super) fn held<T: Send + 'static>(body: Body, kept: T) -> Body {
    body.map_frame(move |frame: hyper::body::Frame<Bytes>| {
        let _held = &kept;
        frame
    })
    .boxed_unsync()
}
