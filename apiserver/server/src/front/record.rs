//! Counts and times requests.

use std::time::Duration;

use super::permit::scope;
use crate::core::Core;
use crate::request::{Query, RequestInfo};

/// How a request ended.
pub(super) struct Figures {
    /// Whether the resource is one that is served.
    pub(super) known: bool,
    /// The HTTP status code.
    pub(super) code: u16,
    /// How long it took; long-running requests are not timed.
    pub(super) took: Option<Duration>,
}

/// Labels come from closed sets: a request to an unknown resource is counted without its names.
pub(super) fn record(core: &Core, info: &RequestInfo, query: &Query, figures: &Figures) {
    let dry_run = if query.non_empty("dryRun") == Some("All") { "All" } else { "" };
    let (group, version, resource, subresource) = if figures.known {
        (
            info.api_group.as_str(),
            info.api_version.as_str(),
            info.resource.as_str(),
            info.subresource.as_str(),
        )
    } else {
        ("", "", "", "")
    };
    let labels =
        [verb(info, figures.known), dry_run, group, version, resource, subresource, scope(info), "apiserver"];
    let text = figures.code.to_string();
    let with_code = [&labels[..], &[text.as_str()]].concat();
    core.metrics.requests.with_label_values(&with_code).inc();
    if let Some(took) = figures.took {
        core.metrics.durations.with_label_values(&labels).observe(took.as_secs_f64());
    }
}

fn verb(info: &RequestInfo, known: bool) -> &'static str {
    match info.verb.as_str() {
        "list" => "LIST",
        "watch" => "WATCH",
        "create" | "post" => "POST",
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
