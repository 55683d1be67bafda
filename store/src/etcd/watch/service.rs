//! How a Watch stream begins. What it answers is made by its [`session`](super::session) and goes out as it is: see [`body`](super::body).
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use futures::stream;
use mainstay_proto_wire::etcd::{SmallBuffers, etcdserverpb as pb};
use parking_lot::Mutex;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Status, Streaming};
use tower_service::Service;

use super::super::face::Face;
use super::super::router::{Request, Response};
use super::body::WatchBody;
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
            let mut grpc = Grpc::new(SmallBuffers::<pb::WatchResponse, pb::WatchRequest>::default())
                .apply_max_message_size_config(Some(service.message_max), None);
            let opened = Arc::default();
            let method = WatchMethod { face: service.face, session: Arc::clone(&opened) };
            let response = grpc.streaming(method, request).await;
            let session = opened.lock().take();
            // Without one the stream was refused, and that is the answer.
            Ok(match session {
                Some(session) => response.map(|_nothing| body(session)),
                None => response,
            })
        })
    }
}

/// The method. It answers with a stream of nothing, and leaves the session that is to be its body.
struct WatchMethod {
    face: Arc<Face>,
    session: Arc<Mutex<Option<Box<Session>>>>,
}

type Nothing = stream::Empty<Result<pb::WatchResponse, Status>>;

impl StreamingService<pb::WatchRequest> for WatchMethod {
    type Response = pb::WatchResponse;
    type ResponseStream = Nothing;
    type Future = Ready<Result<tonic::Response<Nothing>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<pb::WatchRequest>>) -> Self::Future {
        ready(Session::open(Arc::clone(&self.face), request).map(|session| {
            *self.session.lock() = Some(Box::new(session));
            tonic::Response::new(stream::empty())
        }))
    }
}

fn body(session: Box<Session>) -> Body {
    let responses = stream::unfold(session, |mut session| async move {
        let next = session.next().await?;
        Some((next, session))
    });
    Body::new(WatchBody::new(Box::pin(responses)))
}
