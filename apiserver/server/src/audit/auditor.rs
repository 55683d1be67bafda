//! [`Auditor`]: begins trails by the policy, and hands their events to the backends.

use std::sync::Arc;

use http::request::Parts;
use mainstay_base::lifecycle::{Clock, Tasks};
use mainstay_proto_api::Status;
use smol_str::SmolStr;
use time::OffsetDateTime;

use super::event::ObjectReference;
use super::log_file::{LogError, LogFile, LogWriter};
use super::metrics::AuditMetrics;
use super::policy::{Level, Policy};
use super::trail::{Facts, Sent, Trail, source_ips};
use super::webhook::{BatchBounds, WebhookWriter};
use crate::outbound::Remote;
use crate::registry::ServedKinds;
use crate::request::{Peer, RequestInfo};
use crate::types::UserInfo;

/// Upstream's longest user agent, in bytes, and what follows a cut one.
const USER_AGENT_BYTES_MAX: usize = 1024;
const CUT: &str = "...TRUNCATED";

/// What is audited and where it goes.
#[derive(Debug, Clone)]
pub struct AuditConfig {
    /// Which requests are told, and how much of them.
    pub policy: Policy,
    /// The file.
    pub log: Option<LogFile>,
    /// How large an event in the file may be, in bytes; any size where it is none.
    pub log_event_bytes_max: Option<usize>,
    /// The webhook, with the bounds of its queue.
    pub webhook: Option<(Remote, BatchBounds)>,
    /// How large an event for the webhook may be, in bytes; any size where it is none.
    pub webhook_event_bytes_max: Option<usize>,
}

/// What of an event a backend takes.
enum Fitting {
    Full,
    Short(Vec<u8>),
    None,
}

/// An event that can be made shorter.
pub(super) trait Tellable {
    /// The event in full, or without the objects of request and answer.
    fn event(&self, is_short: bool) -> Vec<u8>;
}

/// Makes events of requests.
pub struct Auditor {
    policy: Policy,
    log: Option<LogWriter>,
    webhook: Option<WebhookWriter>,
    log_event_bytes_max: Option<usize>,
    webhook_event_bytes_max: Option<usize>,
    metrics: AuditMetrics,
    kinds: ServedKinds,
    clock: Arc<dyn Clock>,
}

/// The request as the gate sees it.
pub(crate) struct Asked<'a> {
    /// Its id.
    pub(crate) id: &'a SmolStr,
    /// What it asks for.
    pub(crate) info: &'a RequestInfo,
    /// The other end.
    pub(crate) peer: &'a Peer,
    /// Whether it stays open.
    pub(crate) long_running: bool,
    /// When it was read.
    pub(crate) received: OffsetDateTime,
}

impl Auditor {
    /// Opens the backends.
    ///
    /// # Errors
    /// A file that cannot be opened.
    pub(crate) fn open(
        config: AuditConfig,
        kinds: ServedKinds,
        metrics: AuditMetrics,
        clock: Arc<dyn Clock>,
        tasks: &Tasks,
    ) -> Result<Self, LogError> {
        let log =
            config.log.map(|file| LogWriter::start(file, Arc::clone(&clock), metrics.clone())).transpose()?;
        let webhook = config.webhook.map(|(remote, bounds)| {
            WebhookWriter::start(remote, bounds, metrics.clone(), Arc::clone(&clock), tasks)
        });
        Ok(Self {
            policy: config.policy,
            log,
            webhook,
            log_event_bytes_max: config.log_event_bytes_max,
            webhook_event_bytes_max: config.webhook_event_bytes_max,
            metrics,
            kinds,
            clock,
        })
    }

    /// Begins the trail of a request, where the policy wants one. `user` is the caller, none where nobody is
    /// authenticated.
    pub(crate) fn begin(
        self: &Arc<Self>,
        asked: &Asked<'_>,
        parts: &Parts,
        user: Option<&UserInfo>,
    ) -> Option<Arc<Trail>> {
        let told = self.policy.told(user, &asked.info.attributes());
        self.metrics.levels.with_label_values(&[told.level.as_str()]).inc();
        if told.level == Level::None {
            return None;
        }
        let header = |name| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let info = asked.info;
        let object = info.resource_request.then(|| ObjectReference {
            resource: info.resource.clone(),
            namespace: info.namespace.clone(),
            name: info.name.clone(),
            api_group: info.api_group.clone(),
            api_version: info.api_version.clone(),
            subresource: info.subresource.clone(),
            ..ObjectReference::default()
        });
        let body = match info.verb.as_str() {
            _ if object.is_none() || asked.long_running => Sent::Nothing,
            "create" | "update" | "delete" | "deletecollection" => Sent::Object,
            "patch" => Sent::Patch,
            _ => Sent::Nothing,
        };
        let facts = Facts {
            id: asked.id.clone(),
            uri: parts.uri.path_and_query().map_or_else(String::new, ToString::to_string),
            verb: info.verb.clone(),
            user: user.cloned().unwrap_or_default(),
            source_ips: source_ips(&parts.headers, asked.peer.addr.ip()),
            user_agent: cut(header(http::header::USER_AGENT)),
            object,
            received: asked.received,
            body,
            content_type: header(http::header::CONTENT_TYPE).to_owned(),
            long_running: asked.long_running,
        };
        Some(Arc::new(Trail::new(Arc::clone(self), told, facts)))
    }

    /// Hands over an event, and waits until the file has it.
    ///
    /// # Errors
    /// 500 when the file does not take it.
    pub(super) async fn tell(&self, event: &impl Tellable) -> Result<(), Status> {
        let Some((log, event)) = self.spread(event) else { return Ok(()) };
        log.tell(event).await.map_err(|_unwritten| {
            self.metrics.rejected.inc();
            Status::internal("failed to store audit event")
        })
    }

    /// Hands over an event without waiting; what finds no room is counted as lost.
    pub(super) fn tell_now(&self, event: &impl Tellable) {
        if let Some((log, event)) = self.spread(event) {
            log.tell_now(event);
        }
    }

    /// Hands an event to the webhook; answers what the file is to get.
    fn spread(&self, event: &impl Tellable) -> Option<(&LogWriter, Vec<u8>)> {
        self.metrics.events.inc();
        let full = event.event(false);
        if let Some(webhook) = &self.webhook {
            match self.fitting(&full, event, self.webhook_event_bytes_max, "webhook") {
                Fitting::Full => webhook.tell(&full),
                Fitting::Short(short) => webhook.tell(&short),
                Fitting::None => {}
            }
        }
        let log = self.log.as_ref()?;
        match self.fitting(&full, event, self.log_event_bytes_max, "log") {
            Fitting::Full => Some((log, full)),
            Fitting::Short(short) => Some((log, short)),
            Fitting::None => None,
        }
    }

    /// As upstream: an event that is too large goes without its objects, and not at all where it still is.
    fn fitting(
        &self,
        full: &[u8],
        event: &impl Tellable,
        bytes_max: Option<usize>,
        backend: &str,
    ) -> Fitting {
        let fits = |text: &[u8]| bytes_max.is_none_or(|max| text.len() <= max);
        if fits(full) {
            return Fitting::Full;
        }
        let short = event.event(true);
        if fits(&short) {
            return Fitting::Short(short);
        }
        self.metrics.errors.with_label_values(&[backend]).inc();
        Fitting::None
    }

    pub(super) fn kinds(&self) -> &ServedKinds {
        &self.kinds
    }

    pub(super) fn now(&self) -> OffsetDateTime {
        self.clock.wall()
    }
}

fn cut(agent: &str) -> String {
    match agent.get(..USER_AGENT_BYTES_MAX) {
        Some(start) if agent.len() > USER_AGENT_BYTES_MAX => format!("{start}{CUT}"),
        _ => agent.to_owned(),
    }
}
