//! GET with `watch=true`: where the stream starts, and how long it runs.

use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderValue};
use http_body_util::{BodyExt, StreamBody};
use mainstay_proto_api::Status;
use mainstay_store::Revision;

use super::Call;
use super::get::namespace;
use super::list_options::ListOptions;
use super::watch_stream::{Start, WatchStream};
use crate::encoding::{Allow, FrameEncoder, ListSource, Media, WatchMedia};
use crate::failure::too_old;
use crate::registry::{Registry, Seen};
use crate::selection::Selection;
use crate::types::Response;

/// The longest watch, whatever the client asks for.
const LIFETIME_MAX: Duration = Duration::from_secs(24 * 3600);

pub(super) async fn objects(call: &Call<'_>) -> Result<Response, Status> {
    let accepted = call.accept(Allow::WATCH)?;
    let options = ListOptions::for_watch(&call.context.query)?;
    let selection =
        Selection::from_query(call.kind, namespace(call), &call.context.query)?.named(&call.info().name);
    if selection.single_name().is_some_and(|name| !call.info().name.is_empty() && name != call.info().name) {
        return Err(Status::bad_request("fieldSelector metadata.name doesn't match requested name"));
    }
    let media = if accepted.media == Media::Protobuf { WatchMedia::Protobuf } else { WatchMedia::Json };
    let encoder = FrameEncoder { objects: call.encoder(accepted), media };
    let start = start(call, &options, &selection).await?;
    let lifetime = lifetime(call, &options);
    let stream = WatchStream::new(call.core, encoder, selection, start)
        .with_bookmarks(options.bookmarks)
        .ending_after(lifetime)
        .beginning_in(call.context.seat.clone())
        .named(&call.context.audit_id);
    let mut response = http::Response::new(StreamBody::new(stream.frames()).boxed_unsync());
    let content_type = match media {
        WatchMedia::Json => "application/json",
        WatchMedia::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
    };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    Ok(response)
}

/// Upstream's table of `resourceVersion` and `sendInitialEvents`.
async fn start(call: &Call<'_>, options: &ListOptions, selection: &Selection) -> Result<Start, Status> {
    let registry = &call.core.registry;
    let cache = registry.cache(call.kind)?;
    let initial = options.send_initial_events == Some(true);
    if !initial && let Some(version) = options.version.filter(|v| *v > Revision(0)) {
        // The version may be one that this server has still to reach: the stream begins after it, as upstream's does.
        return Ok(match cache.cursor_after(version, selection.interest()) {
            Ok(cursor) => Start::Events(cursor, version),
            Err(gone) => {
                let cursor = cache.snapshot_and_cursor().1;
                let seen = Seen::all(version);
                match registry.past(call.kind, &cache, seen, selection.interest()).await? {
                    Some(past) => Start::Past(cursor, Box::new(past)),
                    None => Start::Refused(cursor, too_old(gone.wanted, gone.oldest)),
                }
            }
        });
    }
    match options.version {
        None => call.fresh().await?,
        Some(Revision(0)) => {}
        // Upstream tells this in the stream, not in its place.
        Some(version) => {
            if let Err(status) = registry.fresh_to(version).await {
                return Ok(Start::Refused(cache.snapshot_and_cursor().1, status));
            }
        }
    }
    let (snapshot, cursor) = cache.snapshot_and_cursor_of(selection.interest());
    if !initial {
        return Ok(Start::Events(cursor, snapshot.revision));
    }
    let revision = snapshot.revision;
    // What a webhook converts is selected when it is converted.
    let scanned = if Registry::asks_to_convert(call.kind) {
        Selection::everything(call.kind, &selection.namespace)
    } else {
        selection.clone()
    };
    let objects = ListSource::scan(snapshot.narrowed(&scanned.interest()), scanned);
    Ok(Start::Initial { objects, revision, cursor })
}

/// What the client asked for, or a random time, so that watches do not all end together.
fn lifetime(call: &Call<'_>, options: &ListOptions) -> Duration {
    if let Some(seconds) = options.timeout_seconds {
        return Duration::from_secs(seconds).min(LIFETIME_MAX);
    }
    let mut byte = [0; 2];
    call.core.randomness.fill(&mut byte);
    let spread = f64::from(u16::from_le_bytes(byte)) / f64::from(u16::MAX);
    call.core.limits.watch_timeout_min.mul_f64(1.0 + spread)
}
