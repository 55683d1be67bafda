//! [`Trail`]: what is gathered about one request, and the events made of it.
//!
//! Whoever finds something out about the request notes it with [`annotate`], wherever it runs. The last event is made when
//! the request ends; for a stream that is when the last holder of its trail lets go.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt as _;
use mainstay_proto_api::Status;
use parking_lot::Mutex;
use serde_json::value::RawValue;
use smol_str::SmolStr;
use time::OffsetDateTime;

use super::auditor::{Auditor, Tellable};
use super::event::{AuthenticationMetadata, Event, ObjectReference, ResponseStatus};
use super::object;
use super::policy::{Level, Stage, Told};
use crate::types::UserInfo;

/// Says that an event is not told in full.
const TRUNCATED: &str = "audit.k8s.io/truncated";

tokio::task_local! {
    static CURRENT: Arc<Trail>;
}

/// Runs `work` with a trail that [`annotate`] finds. It is boxed at once: what waits for it is not made larger by it.
pub(crate) fn with_trail<F: Future>(trail: Option<Arc<Trail>>, work: F) -> impl Future<Output = F::Output> {
    match trail {
        Some(trail) => Box::pin(CURRENT.scope(trail, work)).left_future(),
        None => Box::pin(work).right_future(),
    }
}

/// Notes something about the request that runs here, if it is audited. The first value of a key stays, as upstream.
pub(crate) fn annotate(key: &str, value: impl FnOnce() -> String) {
    // Outside of an audited request there is nothing to note.
    CURRENT.try_with(|trail| trail.annotate(key, value())).unwrap_or_default();
}

/// As [`annotate`], for what is part of the request's body: only where that is told.
pub(crate) fn annotate_request(key: &str, value: impl FnOnce() -> String) {
    let tells = |trail: &Arc<Trail>| trail.told.level >= Level::Request;
    CURRENT
        .try_with(|trail| {
            if tells(trail) {
                trail.annotate(key, value());
            }
        })
        .unwrap_or_default();
}

/// Whether the request that runs here is audited: for notes that are costly to find.
pub(crate) fn auditing() -> bool {
    CURRENT.try_with(|_| ()).is_ok()
}

/// What is known when the trail begins.
pub(super) struct Facts {
    pub(super) id: SmolStr,
    pub(super) uri: String,
    pub(super) verb: SmolStr,
    pub(super) user: UserInfo,
    pub(super) source_ips: Vec<String>,
    pub(super) user_agent: String,
    pub(super) object: Option<ObjectReference>,
    pub(super) received: OffsetDateTime,
    /// Whether the request's body is an object; a patch is told as it is, but names nothing.
    pub(super) body: Sent,
    pub(super) content_type: String,
    pub(super) long_running: bool,
}

/// What a request's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// Nothing that is told.
    Nothing,
    /// An object.
    Object,
    /// A patch.
    Patch,
}

/// One audited request.
pub(crate) struct Trail {
    auditor: Arc<Auditor>,
    told: Told,
    facts: Facts,
    noted: Mutex<Noted>,
}

#[derive(Default)]
struct Noted {
    annotations: BTreeMap<SmolStr, String>,
    impersonated: Option<UserInfo>,
    impersonation_constraint: &'static str,
    response: Option<ResponseStatus>,
    request_body: Vec<Bytes>,
    response_body: Option<(String, Vec<Bytes>)>,
    ended: bool,
}

impl Trail {
    pub(super) fn new(auditor: Arc<Auditor>, told: Told, facts: Facts) -> Self {
        Self { auditor, told, facts, noted: Mutex::default() }
    }

    /// Whether the body of the request goes into the events, or into what they say it is about.
    pub(crate) fn wants_request(&self) -> bool {
        self.facts.body == Sent::Object
            || (self.facts.body == Sent::Patch && self.told.level >= Level::Request)
    }

    /// Whether the body of the answer goes into the events: never that of a path which is no resource, as upstream. The keys
    /// that joining servers get go that way.
    pub(crate) fn wants_response(&self) -> bool {
        self.told.level == Level::RequestResponse && self.facts.object.is_some() && !self.facts.long_running
    }

    pub(super) fn annotate(&self, key: &str, value: String) {
        self.noted.lock().annotations.entry(key.into()).or_insert(value);
    }

    /// Notes whom the request acts as, and the verb of the constrained impersonation that allowed it, if one did.
    pub(crate) fn impersonates(&self, user: &UserInfo, constraint: &'static str) {
        let mut noted = self.noted.lock();
        noted.impersonated = Some(user.clone());
        noted.impersonation_constraint = constraint;
    }

    pub(super) fn take_request(&self, part: Bytes) {
        self.noted.lock().request_body.push(part);
    }

    /// The parts of a body that is answered with.
    pub(super) fn take_response(&self, content_type: String, parts: Vec<Bytes>) {
        self.noted.lock().response_body = Some((content_type, parts));
    }

    /// The request has been read.
    ///
    /// # Errors
    /// 500 when the event cannot be kept: then the request must not go on.
    pub(crate) async fn received(&self) -> Result<(), Status> {
        self.send(Stage::RequestReceived, &Noted::default()).await
    }

    /// The answer's head is known. For requests that are not long-running and whose answer is not told this is the end.
    pub(crate) async fn answered(&self, code: u16, status: Option<&Status>) {
        let response = status.map_or_else(|| ResponseStatus::code(code), ResponseStatus::of);
        self.noted.lock().response = Some(response);
        if self.facts.long_running {
            self.stage(Stage::ResponseStarted).await;
        }
    }

    /// Makes the last event now; that of a stream is made when it ends.
    pub(crate) async fn ends_unless_open(&self) {
        if self.facts.long_running {
            return;
        }
        self.stage(Stage::ResponseComplete).await;
        self.noted.lock().ended = true;
    }

    /// The handler panicked.
    pub(crate) async fn panicked(&self, text: &str) {
        let status = Status::failure(500, "InternalError", format!("APIServer panic'd: {text}"));
        self.noted.lock().response = Some(ResponseStatus::of(&status));
        self.stage(Stage::Panic).await;
        self.noted.lock().ended = true;
    }

    /// A caller whom nothing authenticates; `attempted` says what was tried.
    pub(crate) async fn unauthenticated(&self, attempted: String) {
        let response = ResponseStatus { message: attempted, ..ResponseStatus::code(401) };
        self.noted.lock().response = Some(response);
        self.stage(Stage::ResponseStarted).await;
        self.noted.lock().ended = true;
    }

    /// An event that nothing hangs on any more; a loss is counted.
    async fn stage(&self, stage: Stage) {
        let noted = std::mem::take(&mut *self.noted.lock());
        // The log has told of a failure already.
        drop(self.send(stage, &noted).await);
        *self.noted.lock() = noted;
    }

    async fn send(&self, stage: Stage, noted: &Noted) -> Result<(), Status> {
        if self.told.omitted.has(stage) {
            return Ok(());
        }
        let at = self.auditor.now();
        self.auditor.tell(&Staged { trail: self, stage, noted, at }).await
    }

    /// The event as JSON; a short one has not the objects of request and answer.
    fn event(&self, (stage, at): (Stage, OffsetDateTime), noted: &Noted, is_short: bool) -> Vec<u8> {
        let mut cut = BTreeMap::new();
        if is_short {
            cut.clone_from(&noted.annotations);
            cut.insert(TRUNCATED.into(), "true".to_owned());
        }
        let mut reference = self.facts.object.clone();
        let sent = self.request_object(&noted.request_body);
        if let (Some(reference), Some(sent), Sent::Object) = (&mut reference, &sent, self.facts.body) {
            object::complete(reference, sent);
        }
        let answered =
            (noted.response_body.as_ref()).and_then(|(content_type, parts)| self.object(content_type, parts));
        let event = Event {
            kind: "Event",
            api_version: "audit.k8s.io/v1",
            level: self.told.level.as_str(),
            audit_id: &self.facts.id,
            stage: stage.as_str(),
            request_uri: &self.facts.uri,
            verb: &self.facts.verb,
            user: &self.facts.user,
            impersonated_user: noted.impersonated.as_ref(),
            authentication_metadata: AuthenticationMetadata::of(noted.impersonation_constraint),
            source_ips: &self.facts.source_ips,
            user_agent: &self.facts.user_agent,
            object_ref: reference.as_ref(),
            response_status: noted.response.as_ref(),
            request_object: sent.as_deref().filter(|_| self.told.level >= Level::Request && !is_short),
            response_object: answered.as_deref().filter(|_| !is_short),
            request_received_timestamp: self.facts.received,
            stage_timestamp: at,
            annotations: if is_short { &cut } else { &noted.annotations },
        };
        // Every part is text already, so this cannot fail; an empty line would say so.
        serde_json::to_vec(&event).unwrap_or_default()
    }

    fn request_object(&self, parts: &[Bytes]) -> Option<Box<RawValue>> {
        if parts.is_empty() { None } else { self.object(&self.facts.content_type, parts) }
    }

    fn object(&self, content_type: &str, parts: &[Bytes]) -> Option<Box<RawValue>> {
        let joined;
        let bytes = if let [one] = parts {
            one.as_ref()
        } else {
            joined = parts.concat();
            &joined
        };
        let told = object::Told { content_type, bytes, omit_managed_fields: self.told.omit_managed_fields };
        told.json(self.auditor.kinds())
    }
}

/// A stage of a trail.
struct Staged<'t> {
    trail: &'t Trail,
    stage: Stage,
    noted: &'t Noted,
    at: OffsetDateTime,
}

impl Tellable for Staged<'_> {
    fn event(&self, is_short: bool) -> Vec<u8> {
        self.trail.event((self.stage, self.at), self.noted, is_short)
    }
}

impl Drop for Trail {
    /// A stream has ended, or a client went away.
    fn drop(&mut self) {
        let mut noted = std::mem::take(self.noted.get_mut());
        if noted.ended || self.told.omitted.has(Stage::ResponseComplete) {
            return;
        }
        noted.response.get_or_insert_with(|| ResponseStatus {
            status: "Success".into(),
            message: "Connection closed early".to_owned(),
            ..ResponseStatus::code(200)
        });
        let at = self.auditor.now();
        self.auditor.tell_now(&Staged { trail: self, stage: Stage::ResponseComplete, noted: &noted, at });
    }
}

/// Where a request comes from, as far as its headers and the connection tell; all but the last may be made up.
pub(super) fn source_ips(headers: &http::HeaderMap, remote: IpAddr) -> Vec<String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let parsed = |text: &str| text.trim().parse::<IpAddr>().ok();
    let mut found: Vec<IpAddr> = text("x-forwarded-for").split(',').filter_map(parsed).collect();
    if let Some(real) = parsed(text("x-real-ip"))
        && !found.contains(&real)
    {
        found.push(real);
    }
    let remote = remote.to_canonical();
    if found.last() != Some(&remote) {
        found.push(remote);
    }
    found.iter().map(ToString::to_string).collect()
}
