//! Calls with one message each way, without tonic's machinery for streams of them: most requests come in one frame and are answered by one.
//!
//! It must answer as tonic does. What it does not know, a compressed request, is left to tonic: see [`is_plain`].
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use hyper::body::{Body as _, Frame, SizeHint};
use prost::Message;
use tonic::Status;
use tonic::body::Body;
use tonic::metadata::MetadataMap;

use super::router::{Request, Response};

/// Before each message: whether it is compressed, and its length.
const HEADER_BYTES: usize = 5;
const ENCODING: &str = "grpc-encoding";
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");

/// Whether a request's message is not compressed, so that [`answer`] can read it.
pub(super) fn is_plain(request: &Request) -> bool {
    request.headers().get(ENCODING).is_none_or(|encoding| encoding == "identity")
}

/// Answers a request, whose message has at most `message_max` bytes, by `method`.
pub(super) async fn answer<Q, A, W>(
    request: Request,
    message_max: usize,
    method: impl FnOnce(tonic::Request<Q>) -> W,
) -> Result<Response, Infallible>
where
    Q: Message + Default,
    A: Message,
    W: Future<Output = Result<tonic::Response<A>, Status>>,
{
    let (parts, mut body) = request.into_parts();
    let answered = match message(&mut body, message_max).await {
        Ok(message) => {
            let metadata = MetadataMap::from_headers(parts.headers);
            method(tonic::Request::from_parts(metadata, parts.extensions, message)).await
        }
        Err(refused) => Err(refused),
    };
    Ok(match answered {
        Ok(answer) => whole(answer.get_ref()),
        Err(status) => status.into_http(),
    })
}

/// Reads the only message of a request, and the request to its end.
async fn message<Q: Message + Default>(body: &mut Body, message_max: usize) -> Result<Q, Status> {
    let mut begun = BytesMut::new();
    let message = loop {
        let Some(data) = data(body).await? else {
            return Err(Status::internal(if begun.is_empty() {
                "Missing request message."
            } else {
                "Unexpected EOF decoding stream."
            }));
        };
        if begun.is_empty() {
            // Most often this is the whole message; then nothing is copied.
            match split(&data, message_max)? {
                Some(message) => break Q::decode(data.slice(message)),
                None => begun.extend_from_slice(&data),
            }
        } else {
            begun.extend_from_slice(&data);
            if let Some(message) = split(&begun, message_max)? {
                break Q::decode(begun.freeze().slice(message));
            }
        }
    };
    while !body.is_end_stream() && data(body).await?.is_some() {}
    message.map_err(|error| Status::internal(error.to_string()))
}

/// The next data of a request; none at its end.
async fn data(body: &mut Body) -> Result<Option<Bytes>, Status> {
    loop {
        let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await;
        match frame.transpose()?.map(Frame::into_data) {
            None => return Ok(None),
            Some(Ok(data)) if data.has_remaining() => return Ok(Some(data)),
            Some(Ok(_) | Err(_)) => {} // an empty frame that only ends the stream; trailers, which no client sends
        }
    }
}

/// Where the first message lies in what has come of a request; none while it is not there whole.
fn split(data: &[u8], message_max: usize) -> Result<Option<std::ops::Range<usize>>, Status> {
    let Some((header, rest)) = data.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let [compressed, length @ ..] = *header;
    // In Go's words.
    match compressed {
        0 => {}
        1 => return Err(Status::internal("grpc: compressed flag set with identity or empty encoding")),
        other => return Err(Status::internal(format!("grpc: received unexpected payload format {other}"))),
    }
    let bytes = u32::from_be_bytes(length) as usize;
    if bytes > message_max {
        let text = format!("grpc: received message larger than max ({bytes} vs. {message_max})");
        return Err(Status::resource_exhausted(text));
    }
    Ok((rest.len() >= bytes).then_some(HEADER_BYTES..HEADER_BYTES + bytes))
}

/// A good answer.
fn whole(message: &impl Message) -> Response {
    let bytes = message.encoded_len();
    let mut data = BytesMut::with_capacity(HEADER_BYTES + bytes);
    data.put_u8(0);
    // A message of 4 GiB does not fit into memory twice; its length would be refused by the client.
    data.put_u32(u32::try_from(bytes).unwrap_or(u32::MAX));
    message.encode_raw(&mut data);
    let mut response = Response::new(Body::new(Whole::Data(data.freeze())));
    response.headers_mut().insert(header::CONTENT_TYPE, CONTENT_TYPE);
    response
}

/// The body of a good answer: what is still to be sent of it.
enum Whole {
    Data(Bytes),
    Trailers,
    Nothing,
}

impl hyper::body::Body for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        let (frame, next) = match std::mem::replace(this, Self::Nothing) {
            Self::Data(data) => (Frame::data(data), Self::Trailers),
            Self::Trailers => {
                let mut trailers = HeaderMap::with_capacity(1);
                trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
                (Frame::trailers(trailers), Self::Nothing)
            }
            Self::Nothing => return Poll::Ready(None),
        };
        *this = next;
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    /// Not told: a length would become a header, which gRPC has no use for.
    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use http_body_util::{BodyExt as _, StreamBody};
    use mainstay_proto_wire::etcd::etcdserverpb::{PutRequest, PutResponse, ResponseHeader};
    use tonic::Code;

    use super::*;

    const MESSAGE_MAX: usize = 1000;

    fn message_of(value_bytes: usize) -> Vec<u8> {
        let put = PutRequest { key: "a".into(), value: vec![7; value_bytes].into(), ..PutRequest::default() };
        let message = put.encode_to_vec();
        let mut all = vec![0];
        all.extend_from_slice(&(message.len() as u32).to_be_bytes());
        all.extend_from_slice(&message);
        all
    }

    /// What the server answers to a request in these frames: the revision is the length of the value that came.
    async fn ask(frames: Vec<Vec<u8>>) -> Result<i64, (Code, String)> {
        let frames = frames.into_iter().map(|data| Ok::<_, Status>(Frame::data(Bytes::from(data))));
        let body = Body::new(StreamBody::new(stream::iter(frames)));
        let request =
            http::Request::post("/etcdserverpb.KV/Put").header("hasleader", "true").body(body).unwrap();
        assert!(is_plain(&request));
        let method = |request: tonic::Request<PutRequest>| async move {
            assert_eq!(request.metadata().get("hasleader").unwrap(), "true");
            let revision = request.into_inner().value.len() as i64;
            if revision == 13 {
                return Err(Status::not_found("an unlucky length"));
            }
            let header = Some(ResponseHeader { revision, ..ResponseHeader::default() });
            Ok(tonic::Response::new(PutResponse { header, prev_kv: None }))
        };
        let Ok(response) = answer(request, MESSAGE_MAX, method).await;
        assert_eq!(
            (response.status(), &response.headers()["content-type"]),
            (http::StatusCode::OK, &CONTENT_TYPE)
        );
        if let Some(status) = Status::from_header_map(response.headers()) {
            return Err((status.code(), status.message().to_owned()));
        }
        let collected = response.into_body().collect().await.unwrap();
        assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");
        let mut data = collected.to_bytes();
        assert_eq!((data.get_u8(), data.get_u32() as usize), (0, data.len()));
        Ok(PutResponse::decode(data).unwrap().header.unwrap().revision)
    }

    #[tokio::test]
    async fn a_message_is_read_however_it_is_cut() {
        let message = message_of(300);
        assert_eq!(ask(vec![message.clone()]).await, Ok(300));
        assert_eq!(ask(vec![message.clone(), vec![]]).await, Ok(300), "and the end apart");
        assert_eq!(ask(message.iter().map(|byte| vec![*byte]).collect()).await, Ok(300));
        assert_eq!(ask(vec![vec![], message[..200].to_vec(), message[200..].to_vec()]).await, Ok(300));
        assert_eq!(ask(vec![[message, message_of(5)].concat()]).await, Ok(300), "the first one counts");
        assert_eq!(ask(vec![vec![0; HEADER_BYTES]]).await, Ok(0), "an empty message");
        let refused = (Code::NotFound, "an unlucky length".to_owned());
        assert_eq!(ask(vec![message_of(13)]).await, Err(refused));
    }

    #[tokio::test]
    async fn what_is_no_message_is_refused() {
        let cut = message_of(100)[..50].to_vec();
        let not_protobuf = vec![0, 0, 0, 0, 2, 0xff, 0xff];
        let table: [(Vec<Vec<u8>>, Code, &str); 7] = [
            (vec![], Code::Internal, "Missing request message."),
            (vec![vec![], vec![]], Code::Internal, "Missing request message."),
            (vec![vec![0, 0]], Code::Internal, "Unexpected EOF decoding stream."),
            (vec![cut], Code::Internal, "Unexpected EOF decoding stream."),
            (vec![vec![1, 0, 0, 0, 0]], Code::Internal, "compressed flag set"),
            (
                vec![message_of(1000)],
                Code::ResourceExhausted,
                "received message larger than max (1006 vs. 1000)",
            ),
            (vec![not_protobuf], Code::Internal, "decode"),
        ];
        for (frames, code, words) in table {
            let (found, message) = ask(frames).await.unwrap_err();
            assert_eq!(found, code, "{message}");
            assert!(message.contains(words), "{message}");
        }
    }
}
