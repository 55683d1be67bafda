//! The place of a request's trail and of its flow while the gate works on it, so that a panic and an early refusal are
//! told too.

use std::sync::{Arc, OnceLock};

use http::HeaderMap;
use http::request::Parts;
use mainstay_proto_api::Status;

use crate::audit::{Asked, Trail, observed};
use crate::core::Core;
use crate::flow::Flow;
use crate::types::{Identity, Response};

/// Empty until the caller is known, and where nothing is audited.
#[derive(Default)]
pub(super) struct TrailSlot {
    trail: OnceLock<Arc<Trail>>,
    /// The flow that every answer names, a refusal too.
    flow: OnceLock<Arc<Flow>>,
}

impl TrailSlot {
    /// Begins the trail, where one is wanted.
    ///
    /// # Errors
    /// 500 when its first event cannot be kept.
    pub(super) async fn begin(
        &self,
        core: &Core,
        asked: &Asked<'_>,
        parts: &Parts,
        caller: &Identity,
    ) -> Result<Option<Arc<Trail>>, Status> {
        let Some(trail) = core.auditor.as_ref().and_then(|one| one.begin(asked, parts, Some(&caller.user)))
        else {
            return Ok(None);
        };
        trail.received().await?;
        // Empty until here, so this sets it.
        Ok(Some(Arc::clone(self.trail.get_or_init(|| trail))))
    }

    /// Notes how the request was classified.
    pub(super) fn classified(&self, flow: &Arc<Flow>) {
        self.flow.get_or_init(|| Arc::clone(flow));
    }

    /// Names the flow in the answer.
    pub(super) fn name_flow(&self, response: &mut Response) {
        if let Some(flow) = self.flow.get() {
            flow.name_in(response.headers_mut());
        }
    }

    /// Tells of a caller whom nothing authenticates.
    pub(super) async fn unauthenticated(&self, core: &Core, asked: &Asked<'_>, parts: &Parts) {
        if let Some(trail) = core.auditor.as_ref().and_then(|one| one.begin(asked, parts, None)) {
            trail.unauthenticated(attempted(&parts.headers, !asked.peer.certs.is_empty())).await;
        }
    }

    /// Tells of the answer; a stream's trail goes on until it ends.
    pub(super) async fn answered(&self, response: Response, status: Option<&Status>) -> Response {
        let Some(trail) = self.trail.get() else { return response };
        trail.answered(response.status().as_u16(), status).await;
        if !trail.wants_response() {
            trail.ends_unless_open().await;
            return response;
        }
        let (response, whole) = observed(response, trail);
        if whole {
            trail.ends_unless_open().await;
        }
        response
    }

    /// Tells of a handler's panic.
    pub(super) async fn panicked(&self, text: &str) {
        if let Some(trail) = self.trail.get() {
            trail.panicked(text).await;
        }
    }
}

/// Upstream's sentence about the credentials of a request.
fn attempted(headers: &HeaderMap, with_certificate: bool) -> String {
    let authorization = headers.get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let scheme =
        authorization.and_then(|value| value.trim().split_once(' ')).map(|(scheme, _)| scheme.to_lowercase());
    let mut methods: Vec<&str> = Vec::new();
    methods.extend(match scheme.as_deref() {
        Some("basic") => Some("basic"),
        Some("bearer") => Some("bearer"),
        _ => None,
    });
    methods.extend(with_certificate.then_some("x509"));
    if methods.is_empty() {
        return "Authentication failed, no credentials provided".to_owned();
    }
    format!("Authentication failed, attempted: {}", methods.join(", "))
}
