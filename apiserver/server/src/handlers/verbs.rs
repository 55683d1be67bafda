//! From a resource request to the handler of its verb.

use std::sync::OnceLock;

use bytes::Bytes;
use http::HeaderMap;
use mainstay_apiserver_machinery::kind::{Action, Kind, Subresource};
use mainstay_apiserver_machinery::pipeline::Target;
use mainstay_apiserver_machinery::validation::{names, quote};
use mainstay_base::telemetry::trace;
use mainstay_proto_api::Status;

use super::options::add_warnings;
use super::{create, delete, get, list, patch, scale, update, watch};
use crate::core::Core;
use crate::encoding::{self, Accepted, Allow, ObjectEncoder};
use crate::failure::{Failure, to_status};
use crate::registry::Stale;
use crate::request::{RequestContext, RequestInfo, read_body};
use crate::types::{Body, Response};

/// The verbs that change nothing.
const READS: [&str; 3] = ["get", "list", "watch"];

/// One request to a stored resource.
pub struct Call<'a> {
    /// The server.
    pub core: &'a std::sync::Arc<Core>,
    /// The request.
    pub context: &'a RequestContext,
    /// The kind in the URL.
    pub kind: &'static Kind,
    /// Since when what it reads may be stale.
    stale: OnceLock<Stale>,
}

impl<'a> Call<'a> {
    /// A request for `kind`.
    pub fn new(core: &'a std::sync::Arc<Core>, context: &'a RequestContext, kind: &'static Kind) -> Self {
        Self { core, context, kind, stale: OnceLock::new() }
    }

    /// Waits until the cache has everything that was acknowledged before; a request that only reads may be stale where that
    /// is allowed, and its answer says so.
    pub(super) async fn fresh(&self) -> Result<(), Status> {
        if !READS.contains(&self.info().verb.as_str()) {
            return self.core.registry.fresh().await;
        }
        if let Some(stale) = self.core.registry.fresh_or_stale().await? {
            self.stale.get_or_init(|| stale);
        }
        Ok(())
    }

    fn say_if_stale(&self, response: &mut Response) {
        if let Some(stale) = self.stale.get() {
            add_warnings(response, &[stale.warning()]);
        }
    }

    pub(super) fn info(&self) -> &'a RequestInfo {
        &self.context.info
    }

    pub(super) fn headers(&self) -> &'a HeaderMap {
        &self.context.headers
    }

    pub(super) fn accept(&self, allow: Allow) -> Result<Accepted, Status> {
        let header = self.headers().get(http::header::ACCEPT).and_then(|value| value.to_str().ok());
        // Views are offered where the answer is an object of the kind itself.
        let custom = self.kind.is_custom && allow.views;
        encoding::accept(header, &self.context.query, Allow { custom, ..allow })
    }

    pub(super) fn encoder(&self, accepted: Accepted) -> ObjectEncoder {
        ObjectEncoder { kind: self.kind, view: accepted.view, now: self.core.clock.wall() }
    }

    pub(super) fn failed(&self, failure: &Failure) -> Status {
        to_status(Some(self.kind), failure)
    }

    pub(super) async fn body(&self, body: Body) -> Result<Bytes, Status> {
        read_body(self.headers(), body, self.core.limits.body_bytes_max).await
    }

    pub(super) fn not_found(&self) -> Status {
        Status::not_found(self.kind.group, self.kind.plural, &self.info().name)
    }
}

/// Answers a request to a stored resource or one of its subresources.
///
/// # Errors
/// The Status to answer with.
pub async fn handle(call: &Call<'_>, body: Body) -> Result<Response, Status> {
    let info = call.info();
    check_scope(call)?;
    check_name(info)?;
    let mut span = trace::child(span_name(&info.verb));
    if !span.is_recorded() {
        return answer(call, body).await;
    }
    describe(&mut span, call);
    Box::pin(trace::within(span, answer(call, body))).await.1
}

/// Upstream's names.
fn span_name(verb: &str) -> &'static str {
    match verb {
        "get" => "Get",
        "list" => "List",
        "watch" => "Watch",
        "create" => "Create",
        "update" => "Update",
        "patch" => "Patch",
        _ => "Delete",
    }
}

/// Upstream's attributes.
fn describe(span: &mut trace::Span, call: &Call<'_>) {
    let info = call.info();
    let header = |name| call.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    span.set("accept", header(http::header::ACCEPT));
    span.set("audit-id", call.context.audit_id.as_str());
    span.set("client", call.context.peer.addr.ip().to_string());
    span.set("api-group", info.api_group.as_str());
    span.set("api-version", info.api_version.as_str());
    span.set("name", info.name.as_str());
    span.set("subresource", info.subresource.as_str());
    span.set("namespace", info.namespace.as_str());
    span.set("resource", info.resource.as_str());
    span.set("url", info.path.as_str());
    span.set("user-agent", header(http::header::USER_AGENT));
    span.set("verb", info.verb.as_str());
}

async fn answer(call: &Call<'_>, body: Body) -> Result<Response, Status> {
    let info = call.info();
    let mut response = if info.subresource.is_empty() {
        resource(call, body).await?
    } else {
        let found = call.kind.subresource(&info.subresource).ok_or_else(Status::path_not_found)?;
        check_verb(found.verbs, &info.verb)?;
        subresource(call, found, body).await?
    };
    call.say_if_stale(&mut response);
    if let Some(deprecation) = call.kind.rules.deprecation() {
        add_warnings(&mut response, &[deprecation]);
    }
    Ok(response)
}

async fn resource(call: &Call<'_>, body: Body) -> Result<Response, Status> {
    let info = call.info();
    check_verb(call.kind.verbs, &info.verb)?;
    if info.name.is_empty() && matches!(info.verb.as_str(), "update" | "patch") {
        return Err(method_not_allowed());
    }
    match info.verb.as_str() {
        "get" => get::object(call).await,
        "list" => list::objects(call).await,
        "watch" => watch::objects(call).await,
        "create" => create::object(call, body).await,
        "update" => update::object(call, Target::Object, body).await,
        "patch" => patch::object(call, Target::Object, body).await,
        "delete" => delete::object(call, body).await,
        "deletecollection" => delete::collection(call, body).await,
        _ => Err(method_not_allowed()),
    }
}

async fn subresource(
    call: &Call<'_>,
    subresource: &'static Subresource,
    body: Body,
) -> Result<Response, Status> {
    let target = match subresource.action {
        Action::Status => Target::Status,
        Action::Part => Target::Part(subresource.name),
        Action::Scale(paths) => return scale::handle(call, paths, body).await,
        // Endpoints were asked first: this one is listed, but nothing answers it yet.
        Action::Connect => {
            let what =
                format!("the {} subresource of {} is not built yet", subresource.name, call.kind.plural);
            return Err(Status::failure(501, "NotImplemented", what));
        }
    };
    match call.info().verb.as_str() {
        "get" => get::object(call).await,
        "update" => update::object(call, target, body).await,
        "patch" => patch::object(call, target, body).await,
        _ => Err(method_not_allowed()),
    }
}

/// Namespaced kinds are created and named inside a namespace only, cluster-scoped ones outside only.
fn check_scope(call: &Call<'_>) -> Result<(), Status> {
    let info = call.info();
    if !info.rest.is_empty() {
        return Err(Status::path_not_found());
    }
    // The namespace resource itself carries its own name as namespace.
    let in_namespace = !info.namespace.is_empty() && call.kind.plural != "namespaces";
    if !call.kind.namespaced && in_namespace {
        return Err(Status::path_not_found());
    }
    if call.kind.namespaced && info.namespace.is_empty() {
        return match info.verb.as_str() {
            "list" | "watch" => Ok(()),
            _ if info.is_object_path() => Err(Status::path_not_found()),
            _ => Err(method_not_allowed()),
        };
    }
    Ok(())
}

/// Upstream makes no key of a name with a percent sign, since somebody might decode it once more.
fn check_name(info: &RequestInfo) -> Result<(), Status> {
    let faults = names::path_segment(&info.name);
    if !info.is_object_path() || faults.is_empty() {
        return Ok(());
    }
    let name = quote(&info.name);
    Err(Status::bad_request(format!("Name parameter invalid: {name}: {}", faults.join(";"))))
}

fn check_verb(verbs: &[&str], verb: &str) -> Result<(), Status> {
    if verbs.contains(&verb) { Ok(()) } else { Err(method_not_allowed()) }
}

/// 405 for methods that a path does not have.
pub(crate) fn method_not_allowed() -> Status {
    Status::failure(
        405,
        "MethodNotAllowed",
        "the server does not allow this method on the requested resource",
    )
}
