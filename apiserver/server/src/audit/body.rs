//! Bodies that are listened to on their way through. Nothing is copied: parts are shared.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::FutureExt as _;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Frame, SizeHint};

use super::trail::Trail;
use crate::types::{Body, BodyError, Response, full_body};

/// The longest answer that an event holds; a longer one is left out and marked, as upstream truncates.
const TOLD_BYTES_MAX: usize = 10 * 1024 * 1024;
/// Upstream's mark on a truncated event.
const TRUNCATED: &str = "audit.k8s.io/truncated";

/// The request's body, whose parts go into the trail as they are read.
pub(crate) fn listened(body: Body, trail: &Arc<Trail>) -> Body {
    if !trail.wants_request() {
        return body;
    }
    let trail = Arc::downgrade(trail);
    body.map_frame(move |frame: Frame<Bytes>| {
        if let (Some(trail), Some(data)) = (trail.upgrade(), frame.data_ref()) {
            trail.take_request(data.clone());
        }
        frame
    })
    .boxed_unsync()
}

/// The answer, whose body goes into the trail, and whether it is there as a whole; else it comes with the client's reading.
pub(crate) fn observed(response: Response, trail: &Arc<Trail>) -> (Response, bool) {
    let content_type = response.headers().get(http::header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let (parts, body) = response.into_parts();
    let whole = body.size_hint().exact().is_some_and(|bytes| bytes <= TOLD_BYTES_MAX as u64);
    let mut listening = Listening {
        body,
        trail: Arc::clone(trail),
        content_type,
        held: Some(Vec::new()),
        bytes: 0,
        first: None,
    };
    if whole && let Some(Some(Ok(frame))) = listening.frame().now_or_never() {
        let first = frame.into_data().unwrap_or_default();
        if listening.body.is_end_stream() {
            return (http::Response::from_parts(parts, full_body(first)), true);
        }
        listening.first = Some(first);
    }
    (http::Response::from_parts(parts, listening.boxed_unsync()), false)
}

struct Listening {
    body: Body,
    trail: Arc<Trail>,
    content_type: String,
    /// None once it is too long.
    held: Option<Vec<Bytes>>,
    bytes: usize,
    /// A part that was read to see whether there are more.
    first: Option<Bytes>,
}

impl Listening {
    fn take(&mut self, data: &Bytes) {
        self.bytes += data.len();
        if self.bytes > TOLD_BYTES_MAX {
            self.held = None;
        }
        if let Some(held) = &mut self.held {
            held.push(data.clone());
        }
    }
}

impl hyper::body::Body for Listening {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            let data = data.clone();
            self.take(&data);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.first.is_some() { SizeHint::default() } else { self.body.size_hint() }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        match self.held.take() {
            Some(parts) => self.trail.take_response(std::mem::take(&mut self.content_type), parts),
            None => self.trail.annotate(TRUNCATED, "true".to_owned()),
        }
    }
}
