//! `/readyz?watch=true`: the answer goes on, with a line each time that the server was found ready again, and ends when it is not. Agents that
//! must leave a server within a second listen to this, and need not ask: a server with a thousand of them checks itself once for all.
//!
//! Servers that do not know it answer `ok` and are done, as upstream's do with parameters that they do not know.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::header::{CONTENT_TYPE, HeaderValue};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use tokio::sync::{Notify, watch};

use super::health;
use crate::core::Core;
use crate::request::{Query, RequestInfo};
use crate::types::Response;

/// How often who listens hears of a server that is ready. Callers give up one that was silent for longer: `agents/kit/src/servers`.
const BEAT: Duration = Duration::from_millis(300);
const LINE: Bytes = Bytes::from_static(b"ok\n");

/// What those who listen are told.
#[derive(Debug, Default)]
pub(crate) struct Beats {
    is_ready: watch::Sender<bool>,
    /// Somebody has begun to listen.
    wanted: Notify,
}

/// Whether the request is to go on for as long as the server is ready. Who is not known hears it once.
pub(super) fn are_asked_for(info: &RequestInfo, query: &Query) -> bool {
    info.path == "/readyz" && query.get("watch") == Some("true")
}

/// The answer to who wants to listen; none if the server is not ready.
pub(super) async fn answer(core: &Core) -> Option<Response> {
    // Before the look, so that nothing is missed after it.
    let told = core.beats.is_ready.subscribe();
    if !health::is_ready(core).await {
        return None;
    }
    core.beats.wanted.notify_one();
    let later = stream::unfold(told, |mut told| async move {
        told.changed().await.ok()?;
        let is_ready = *told.borrow_and_update();
        is_ready.then_some((LINE, told))
    });
    let lines = stream::once(std::future::ready(LINE)).chain(later);
    let mut response =
        http::Response::new(StreamBody::new(lines.map(|line| Ok(Frame::data(line)))).boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    Some(response)
}

/// Looks after the server while somebody listens, until it stops.
pub(crate) async fn run(core: std::sync::Arc<Core>) {
    let Beats { is_ready, wanted } = &core.beats;
    let look = async {
        loop {
            if is_ready.receiver_count() == 0 {
                wanted.notified().await;
            }
            let next = core.clock.now() + BEAT;
            is_ready.send_replace(health::is_ready(&core).await);
            tokio::select! {
                biased;
                () = core.leaving.cancelled(), if *is_ready.borrow() => {}
                () = tokio::time::sleep_until(next) => {}
            }
        }
    };
    tokio::select! {
        biased;
        () = core.stop.cancelled() => {}
        () = look => {}
    }
    is_ready.send_replace(false);
}
