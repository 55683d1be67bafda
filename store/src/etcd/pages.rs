//! What is neither gRPC nor its JSON gateway: version, variables, health, metrics.
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use http_body_util::Full;
use tonic::body::Body;

use super::router::{Request, Response, Router};
use super::{ETCD_CLUSTER_VERSION, ETCD_VERSION, refusal};
use crate::api::{AlarmKind, RangeRequest};

/// Answers a request that is not gRPC.
pub(super) async fn answer(router: &Router, request: Request) -> Response {
    match request.uri().path() {
        "/version" | "/debug/vars" if request.method() != Method::GET => only_get(),
        "/version" => json(StatusCode::OK, version()),
        "/debug/vars" => debug_vars(router).await,
        _ => metrics_and_health(router, request).await,
    }
}

/// Answers what a listener for metrics serves. Whatever else is asked for does not exist there, gRPC and the JSON gateway included.
pub(super) async fn metrics_and_health(router: &Router, request: Request) -> Response {
    let (parts, _body) = request.into_parts();
    let path = parts.uri.path();
    let query = Query::of(parts.uri.query().unwrap_or_default());
    match path {
        "/health" | "/metrics" if parts.method != Method::GET => only_get(),
        "/health" => health(router, &query).await,
        "/metrics" => match router.metrics.text(&router.face).await {
            Ok(metrics) => page(StatusCode::OK, "text/plain; version=0.0.4", metrics),
            Err(status) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", status.message())),
        },
        _ => match checks_of(path) {
            Some(_) if parts.method != Method::GET => only_get(),
            Some(names) => checks(router, &names, &query).await,
            None => not_found(),
        },
    }
}

/// The checks of `/livez` (this process works) and `/readyz` (so does its cluster), in etcd's words.
const LIVEZ: &[&str] = &["serializable_read"];
const READYZ: &[&str] = &["data_corruption", "serializable_read", "linearizable_read", "non_learner"];

/// All checks of a page, or the one that the path names.
fn checks_of(path: &str) -> Option<Vec<&'static str>> {
    let (all, rest) = match path.strip_prefix("/livez") {
        Some(rest) => (LIVEZ, rest),
        None => (READYZ, path.strip_prefix("/readyz")?),
    };
    if rest.is_empty() {
        return Some(all.to_vec());
    }
    let name = rest.strip_prefix('/')?;
    all.iter().find(|check| **check == name).map(|check| vec![*check])
}

fn not_found() -> Response {
    text(StatusCode::NOT_FOUND, "404 page not found\n".into())
}

/// The parameters of a request, in order. Values of the pages here need no percent-decoding.
struct Query<'q>(Vec<(&'q str, &'q str)>);

impl<'q> Query<'q> {
    fn of(query: &'q str) -> Self {
        Self(query.split('&').map(|part| part.split_once('=').unwrap_or((part, ""))).collect())
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| *key == name)
    }

    fn has_value(&self, name: &str, value: &str) -> bool {
        self.0.contains(&(name, value))
    }
}

fn version() -> String {
    format!(
        r#"{{"etcdserver":"{ETCD_VERSION}","etcdcluster":"{ETCD_CLUSTER_VERSION}","storage":"{ETCD_CLUSTER_VERSION}"}}"#
    )
}

/// etcd's page of variables. What it has of Go's memory is not there.
async fn debug_vars(router: &Router) -> Response {
    let status = match router.face.store.status().await {
        Ok(status) => status,
        Err(error) => return text(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
    };
    let state = match status.leader {
        _ if status.is_learner => "StateLearner",
        Some(leader) if leader == status.member_id => "StateLeader",
        _ => "StateFollower",
    };
    let variables = serde_json::json!({
        "cmdline": std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>(),
        "file_descriptor_limit": rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
        "raft.status": {
            "id": format!("{:x}", status.member_id),
            "term": status.term,
            "lead": format!("{:x}", status.leader.unwrap_or(0)),
            "raftState": state,
            "applied": status.applied_index,
        },
    });
    json(StatusCode::OK, format!("{variables}\n"))
}

/// Why a member is not healthy, in etcd's words.
async fn sickness(router: &Router, query: &Query<'_>) -> Option<String> {
    let serializable = query.has_value("serializable", "true");
    let status = match router.face.store.status().await {
        Ok(status) => status,
        Err(error) => return Some(format!("RANGE ERROR:{error}")),
    };
    let raised = status.alarms.iter().map(|alarm| match alarm.kind {
        AlarmKind::NoSpace => "NOSPACE",
        AlarmKind::Corrupt => "CORRUPT",
    });
    let full = status.no_space.then_some("NOSPACE");
    if let Some(alarm) = raised.chain(full).find(|alarm| !query.has_value("exclude", alarm)) {
        return Some(format!("ALARM {alarm}"));
    }
    if !serializable && !router.face.has_leader() {
        return Some("RAFT NO LEADER".into());
    }
    read(router, serializable).await.err().map(|error| format!("RANGE ERROR:{error}"))
}

/// A read, as any client's.
async fn read(router: &Router, serializable: bool) -> Result<(), String> {
    let request = RangeRequest {
        limit: 1,
        keys_only: true,
        serializable,
        ..RangeRequest::key(Bytes::from_static(b"\0"))
    };
    match tokio::time::timeout(router.face.config.request_timeout, router.face.store.range(request)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_elapsed) => Err("etcdserver: request timed out".into()),
    }
}

async fn health(router: &Router, query: &Query<'_>) -> Response {
    let sickness = sickness(router, query).await;
    let metrics = &router.metrics;
    if sickness.is_none() {
        metrics.health_successes.inc();
    } else {
        metrics.health_failures.inc();
    }
    match sickness {
        None => json(StatusCode::OK, r#"{"health":"true","reason":""}"#.into()),
        Some(reason) => {
            let reason = serde_json::Value::from(reason);
            json(StatusCode::SERVICE_UNAVAILABLE, format!(r#"{{"health":"false","reason":{reason}}}"#))
        }
    }
}

async fn checks(router: &Router, names: &[&str], query: &Query<'_>) -> Response {
    let mut report: Vec<String> = Vec::new();
    let mut all_well = true;
    for name in names.iter().filter(|name| !query.has_value("exclude", name)) {
        let result = match *name {
            "serializable_read" => read(router, true).await,
            "linearizable_read" => read(router, false).await,
            "non_learner" if router.face.is_learner() => {
                Err(refusal::NOT_SUPPORTED_FOR_LEARNER.text().to_owned())
            }
            // No corruption check has found anything: a store that finds damage stops.
            _ => Ok(()),
        };
        match result {
            Ok(()) => report.push(format!("[+]{name} ok\n")),
            Err(error) => {
                all_well = false;
                report.push(format!("[-]{name} failed: {error}\n"));
            }
        }
    }
    if !all_well {
        return text(StatusCode::SERVICE_UNAVAILABLE, report.concat());
    }
    let report = if query.has("verbose") { report.concat() } else { String::new() };
    text(StatusCode::OK, report + "ok\n")
}

fn only_get() -> Response {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n".into());
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
    response
}

fn text(status: StatusCode, body: String) -> Response {
    page(status, "text/plain; charset=utf-8", body)
}

fn json(status: StatusCode, body: String) -> Response {
    page(status, "application/json", body)
}

fn page(status: StatusCode, content_type: &'static str, body: String) -> Response {
    let mut response = Response::new(Body::new(Full::new(Bytes::from(body))));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
