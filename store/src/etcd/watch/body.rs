//! A Watch stream as the body of its answer. Events are bytes already, which many watches share: they go to the connection as they are, without
//! a copy for each watch, unless they are so few that a frame of their own would cost more.
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use futures::Stream;
use http::HeaderMap;
use hyper::body::{Body, Frame, SizeHint};
use tonic::Status;

use super::encode::Response;

/// Events of fewer bytes are copied behind the head of their response.
const COPIED_MAX: usize = 4 << 10;
/// Small responses that are ready at once become one frame of about so many bytes.
const TOGETHER_BYTES: usize = 32 << 10;

/// The responses of a stream.
pub(super) type Responses = Pin<Box<dyn Stream<Item = Result<Response, Status>> + Send>>;

/// The body.
pub(super) struct WatchBody {
    responses: Responses,
    /// The events of the response whose head was sent last.
    events: Option<Bytes>,
    end: End,
}

/// How far the end has come.
enum End {
    NotYet,
    Trailers(HeaderMap),
    Sent,
}

impl WatchBody {
    pub(super) fn new(responses: Responses) -> Self {
        Self { responses, events: None, end: End::NotYet }
    }

    fn finish(&mut self, status: &Status) {
        let mut trailers = HeaderMap::new();
        if let Err(error) = status.add_header(&mut trailers) {
            tracing::debug!(%error, "a status that is no header");
        }
        self.end = End::Trailers(trailers);
    }

    /// The next bytes: as many responses as are ready, up to the first whose events are sent as they are. None at the end.
    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(events) = self.events.take() {
            return Poll::Ready(Some(events));
        }
        let mut out = BytesMut::new();
        while matches!(self.end, End::NotYet) && self.events.is_none() && out.len() < TOGETHER_BYTES {
            match self.responses.as_mut().poll_next(context) {
                Poll::Pending if out.is_empty() => return Poll::Pending,
                Poll::Pending => break,
                Poll::Ready(Some(Ok(response))) => self.events = put(response, &mut out),
                Poll::Ready(Some(Err(status))) => self.finish(&status),
                Poll::Ready(None) => self.finish(&Status::ok("")),
            }
        }
        Poll::Ready((!out.is_empty()).then(|| out.freeze()))
    }
}

/// Puts a message of gRPC down: not compressed, its length, its bytes. Returns what of it has to follow.
fn put(response: Response, out: &mut BytesMut) -> Option<Bytes> {
    let bytes = response.len();
    let copied = 5 + bytes.min(COPIED_MAX);
    if out.capacity() - out.len() < copied {
        // Where a second one comes more do: then it is not made larger again and again.
        out.reserve(if out.is_empty() { copied } else { TOGETHER_BYTES });
    }
    out.put_u8(0);
    out.put_u32(bytes as u32);
    out.put_slice(response.head.as_bytes());
    if response.events.len() < COPIED_MAX {
        out.put_slice(&response.events);
        return None;
    }
    Some(response.events)
}

impl Body for WatchBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        match this.poll_data(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(bytes)) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
            Poll::Ready(None) => {}
        }
        Poll::Ready(match std::mem::replace(&mut this.end, End::Sent) {
            End::Trailers(trailers) => Some(Ok(Frame::trailers(trailers))),
            End::NotYet | End::Sent => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.end, End::Sent)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use http_body_util::BodyExt as _;
    use mainstay_proto_wire::etcd::etcdserverpb as pb;
    use prost::Message as _;

    use super::super::head::Head;
    use super::*;

    fn response(watch_id: i64, events: usize) -> Response {
        let event = pb::WatchResponse {
            events: vec![mainstay_proto_wire::etcd::mvccpb::Event { r#type: 1, ..Default::default() }],
            ..Default::default()
        };
        let events = event.encode_to_vec().repeat(events);
        Response { head: Head::new(&pb::ResponseHeader::default(), watch_id, false), events: events.into() }
    }

    /// The messages, how many frames they came in, and the trailers.
    async fn read(items: Vec<Result<Response, Status>>) -> (Vec<pb::WatchResponse>, usize, HeaderMap) {
        let mut body = WatchBody::new(Box::pin(stream::iter(items)));
        let (mut bytes, mut frames) = (BytesMut::new(), 0);
        let trailers = loop {
            match body.frame().await.expect("trailers come before the end").unwrap().into_data() {
                Ok(data) => {
                    bytes.extend_from_slice(&data);
                    frames += 1;
                }
                Err(frame) => break frame.into_trailers().unwrap(),
            }
        };
        assert!(body.is_end_stream() && body.frame().await.is_none());
        let mut messages = Vec::new();
        while !bytes.is_empty() {
            let length = u32::from_be_bytes(bytes[1..5].try_into().unwrap()) as usize;
            assert_eq!(bytes[0], 0);
            let message = bytes.split_to(5 + length);
            messages.push(pb::WatchResponse::decode(&message[5..]).unwrap());
        }
        (messages, frames, trailers)
    }

    #[tokio::test]
    async fn small_responses_come_together_and_large_ones_as_they_are() {
        let sizes = [1, 0, 3, 5000, 2, 2000, 1];
        let items = sizes.iter().zip(1..).map(|(events, id)| Ok(response(id, *events))).collect();
        let (messages, frames, trailers) = read(items).await;
        assert_eq!(
            messages.iter().map(|message| message.watch_id).collect::<Vec<_>>(),
            [1, 2, 3, 4, 5, 6, 7]
        );
        assert_eq!(messages.iter().map(|message| message.events.len()).collect::<Vec<_>>(), sizes);
        assert_eq!(frames, 5, "two with what is before their events, their events, and the last");
        assert_eq!(trailers["grpc-status"], "0");
    }

    #[tokio::test]
    async fn a_stream_that_fails_ends_with_its_status_after_what_came_before() {
        let (messages, _, trailers) = read(vec![Ok(response(1, 1)), Err(Status::unavailable("over"))]).await;
        assert_eq!(messages.len(), 1);
        assert_eq!(
            (&trailers["grpc-status"], &trailers["grpc-message"]),
            (&"14".parse().unwrap(), &"over".parse().unwrap())
        );
    }
}
