//! How a Watch stream begins. Events are bytes already: see [`encode`](super::encode).
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use futures::{Stream, stream};
use mainstay_proto_wire::etcd::etcdserverpb as pb;
use prost::Message;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Status, Streaming};
use tower_service::Service;

use super::super::face::Face;
use super::super::router::{Request, Response};
use super::encode::Response as WatchResponse;
use super::session::Session;

/// Opens watch streams.
#[derive(Clone, Debug)]
pub(in crate::etcd) struct WatchService {
    face: Arc<Face>,
    message_max: usize,
}

impl WatchService {
    /// Messages from clients have at most `message_max` bytes.
    pub(in crate::etcd) fn new(face: Arc<Face>, message_max: usize) -> Self {
        Self { face, message_max }
    }
}

impl NamedService for WatchService {
    const NAME: &'static str = "etcdserverpb.Watch";
}

impl Service<Request> for WatchService {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            if request.uri().path() != "/etcdserverpb.Watch/Watch" {
                return Ok(Status::unimplemented("Watch has one method, which is Watch").into_http());
            }
            let mut grpc =
                Grpc::new(WatchCodec).apply_max_message_size_config(Some(service.message_max), None);
            Ok(grpc.streaming(WatchMethod(service.face), request).await)
        })
    }
}

/// The method.
struct WatchMethod(Arc<Face>);

type Responses = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

impl StreamingService<pb::WatchRequest> for WatchMethod {
    type Response = WatchResponse;
    type ResponseStream = Responses;
    type Future = BoxFuture<'static, Result<tonic::Response<Responses>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<pb::WatchRequest>>) -> Self::Future {
        let face = Arc::clone(&self.0);
        Box::pin(async move {
            let session = Box::new(Session::open(face, request)?);
            let responses = stream::unfold(session, |mut session| async move {
                let next = session.next().await?;
                Some((next, session))
            });
            Ok(tonic::Response::new(Box::pin(responses) as Responses))
        })
    }
}

/// Requests are decoded as ever; responses are bytes already, but for their heads.
#[derive(Clone, Copy, Debug, Default)]
struct WatchCodec;

impl Codec for WatchCodec {
    type Encode = WatchResponse;
    type Decode = pb::WatchRequest;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for WatchCodec {
    type Item = WatchResponse;
    type Error = Status;

    fn encode(&mut self, message: WatchResponse, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.reserve(message.len());
        message.encode(out);
        Ok(())
    }
}

impl Decoder for WatchCodec {
    type Item = pb::WatchRequest;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<pb::WatchRequest>, Status> {
        pb::WatchRequest::decode(message)
            .map(Some)
            .map_err(|error| Status::internal(format!("not a WatchRequest: {error}")))
    }
}
