//! `/livez`, `/readyz` and `/healthz`, with one line per check when asked for.

use std::time::Duration;

use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};

use crate::core::Core;
use crate::request::Query;
use crate::types::{Response, full_body};

/// How long a check may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// Agents and servers ask several times a second, to leave a server in time that has lost the others: they share one question to the store.
const FRESH_WITHIN: Duration = Duration::from_millis(200);

/// The checks of `/livez`; `/readyz` has [`READY_CHECKS`] too.
const LIVE_CHECKS: [&str; 3] = ["ping", "log", "etcd"];
const READY_CHECKS: [&str; 3] = ["informer-sync", "poststarthook/start-kube-apiserver", "shutdown"];

/// The answer to a health path, `None` for other paths.
pub(super) async fn answer(core: &Core, path: &str, query: &Query) -> Option<Response> {
    let mut segments = path.trim_start_matches('/').splitn(2, '/');
    let (endpoint, one) = (segments.next()?, segments.next());
    let checks: Vec<&str> = match endpoint {
        "livez" | "healthz" => LIVE_CHECKS.to_vec(),
        "readyz" => [LIVE_CHECKS, READY_CHECKS].concat(),
        _ => return None,
    };
    if let Some(one) = one {
        let name = checks.iter().find(|check| **check == one)?;
        return Some(match check(core, name).await {
            Ok(()) => text(StatusCode::OK, "ok".to_owned()),
            Err(why) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("internal server error: {why}\n")),
        });
    }
    let excluded: Vec<&str> = query.all("exclude").collect();
    let mut lines = String::new();
    let mut failed = Vec::new();
    for &name in &checks {
        if excluded.contains(&name) {
            line(&mut lines, format_args!("[+]{name} excluded: ok"));
            continue;
        }
        match check(core, name).await {
            Ok(()) => line(&mut lines, format_args!("[+]{name} ok")),
            Err(why) => {
                tracing::debug!(check = name, why, "health check failed");
                line(&mut lines, format_args!("[-]{name} failed: reason withheld"));
                failed.push(name);
            }
        }
    }
    let unknown: Vec<String> =
        excluded.iter().filter(|one| !checks.contains(one)).map(|one| format!("{one:?}")).collect();
    if !unknown.is_empty() {
        let names = unknown.join(",");
        line(&mut lines, format_args!("warn: some health checks cannot be excluded: no matches for {names}"));
    }
    if !failed.is_empty() {
        line(&mut lines, format_args!("{endpoint} check failed"));
        return Some(text(StatusCode::INTERNAL_SERVER_ERROR, lines));
    }
    if query.get("verbose").is_none() {
        return Some(text(StatusCode::OK, "ok".to_owned()));
    }
    line(&mut lines, format_args!("{endpoint} check passed"));
    Some(text(StatusCode::OK, lines))
}

/// Whether every check of `/readyz` passes, for who need not come by the network.
pub(crate) async fn is_ready(core: &Core) -> bool {
    for name in [LIVE_CHECKS, READY_CHECKS].concat() {
        if let Err(why) = check(core, name).await {
            tracing::debug!(check = name, why, "health check failed");
            return false;
        }
    }
    true
}

fn line(lines: &mut String, text: std::fmt::Arguments<'_>) {
    lines.push_str(&text.to_string());
    lines.push('\n');
}

async fn check(core: &Core, name: &str) -> Result<(), &'static str> {
    match name {
        "etcd" => {
            let checked = tokio::time::timeout(CHECK_TIMEOUT, core.registry.store().check()).await;
            checked.map_err(|_elapsed| "the store does not answer")?.map_err(|error| {
                tracing::debug!(%error, "the store is not well");
                "the store is closed or cannot be reached"
            })
        }
        "informer-sync" => {
            let reached = tokio::time::timeout(CHECK_TIMEOUT, core.registry.fresh_within(FRESH_WITHIN)).await;
            reached
                .map_err(|_elapsed| "the cache is behind the store")?
                .map_err(|_status| "the store does not answer")
        }
        "shutdown" if core.leaving.is_cancelled() || core.stop.is_cancelled() => {
            Err("process is shutting down")
        }
        _ => Ok(()),
    }
}

fn text(code: StatusCode, body: String) -> Response {
    let mut response = http::Response::new(full_body(body));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}
