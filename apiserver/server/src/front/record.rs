//! Counts and times requests.

use std::time::Duration;

use super::permit::scope;
use crate::core::Core;
use crate::request::{Query, RequestInfo};

/// Labels come from closed sets: a request to an unknown resource is counted without its names.
pub(super) fn record(
    core: &Core,
    info: &RequestInfo,
    query: &Query,
    known: bool,
    code: u16,
    took: Option<Duration>,
) {
    let verb = verb(info, known);
    let dry_run = if query.non_empty("dryRun") == Some("All") { "All" } else { "" };
    let (group, version, resource, subresource) = if known {
        (
            info.api_group.as_str(),
            info.api_version.as_str(),
            info.resource.as_str(),
            info.subresource.as_str(),
        )
    } else {
        ("", "", "", "")
    };
    let labels = [verb, dry_run, group, version, resource, subresource, scope(info), "apiserver"];
    let code = code.to_string();
    let [a, b, c, d, e, f, g, h] = labels;
    core.metrics.requests.with_label_values(&[a, b, c, d, e, f, g, h, code.as_str()]).inc();
    if let Some(took) = took {
        core.metrics.durations.with_label_values(&labels).observe(took.as_secs_f64());
    }
}

fn verb(info: &RequestInfo, known: bool) -> &'static str {
    match info.verb.as_str() {
        "list" => "LIST",
        "watch" => "WATCH",
        "create" => "POST",
        "post" => "POST",
        "update" | "put" => "PUT",
        "patch" => "PATCH",
        "delete" => "DELETE",
        "deletecollection" => "DELETECOLLECTION",
        "connect" if known => "CONNECT",
        "get" => "GET",
        "head" => "HEAD",
        _ => "other",
    }
}
