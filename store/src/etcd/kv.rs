//! The service KV.
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;
use futures::future::BoxFuture;
use mainstay_base::telemetry::trace;
use mainstay_proto_wire::etcd::etcdserverpb as pb;
use pb::kv_server::{Kv, KvServer};
use tonic::server::NamedService;
use tonic::{Request, Response, Status};
use tower_service::Service;

use super::access::Need;
use super::face::Face;
use super::router;
use super::traced::{TracedWrite, wrote};
use super::{convert, range_stream, refusal, unary};
use crate::api::Revision;

/// Answers KV requests from the store.
#[derive(Debug)]
struct KvService {
    face: Arc<Face>,
}

/// The service: calls with one message each way take the short way, all others tonic's.
#[derive(Clone, Debug)]
pub(super) struct KvRoutes {
    kv: Arc<KvService>,
    all: KvServer<KvService>,
    message_max: usize,
}

impl KvRoutes {
    /// Messages from clients have at most `message_max` bytes.
    pub(super) fn new(face: Arc<Face>, message_max: usize) -> Self {
        let kv = Arc::new(KvService { face });
        let all = KvServer::from_arc(Arc::clone(&kv)).max_decoding_message_size(message_max);
        Self { kv, all, message_max }
    }
}

impl NamedService for KvRoutes {
    const NAME: &'static str = "etcdserverpb.KV";
}

impl Service<router::Request> for KvRoutes {
    type Response = router::Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<router::Response, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: router::Request) -> Self::Future {
        if !unary::is_plain(&request) {
            return self.all.call(request);
        }
        let (kv, max) = (Arc::clone(&self.kv), self.message_max);
        match request.uri().path() {
            "/etcdserverpb.KV/Range" => {
                Box::pin(unary::answer(request, max, |range| async move { kv.range(range).await }))
            }
            "/etcdserverpb.KV/Put" => {
                Box::pin(unary::answer(request, max, |put| async move { kv.put(put).await }))
            }
            "/etcdserverpb.KV/Txn" => {
                Box::pin(unary::answer(request, max, |txn| async move { kv.txn(txn).await }))
            }
            _ => self.all.call(request),
        }
    }
}

impl KvService {
    async fn range(&self, request: Request<pb::RangeRequest>) -> Result<Response<pb::RangeResponse>, Status> {
        if !request.get_ref().serializable && self.face.is_learner() {
            return Err(refusal::NOT_SUPPORTED_FOR_LEARNER.into());
        }
        let store = self.face.admit(&request).await?;
        let wanted = convert::range(request.get_ref())?;
        let span = trace::child("range");
        let response = store.range(wanted).await.map_err(|error| refusal::of_range(&error))?;
        drop(span);
        let header = self.face.header(response.revision);
        Ok(Response::new(convert::range_response(header, response)))
    }

    async fn put(&self, request: Request<pb::PutRequest>) -> Result<Response<pb::PutResponse>, Status> {
        let store = self.face.admit(&request).await?;
        let wanted = convert::put(request.get_ref());
        let (store, write) = TracedWrite::begin("put", store);
        let response = store.put_with(wanted).await;
        write.end(&response, |put| Some(put.revision));
        let response = response.map_err(|error| refusal::of_write(&error))?;
        self.face.pace().await;
        let header = self.face.header(response.revision);
        Ok(Response::new(convert::put_response(header, response)))
    }

    async fn delete_range(
        &self,
        request: Request<pb::DeleteRangeRequest>,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        let store = self.face.admit(&request).await?;
        let wanted = convert::delete(request.get_ref())?;
        let (store, write) = TracedWrite::begin("delete_range", store);
        let response = store.delete_range(wanted).await;
        write.end(&response, |gone| (gone.deleted > 0).then_some(gone.revision));
        let response = response.map_err(|error| refusal::of_write(&error))?;
        if response.deleted > 0 {
            self.face.pace().await;
        }
        let header = self.face.header(response.revision);
        Ok(Response::new(convert::delete_response(header, response)))
    }

    async fn txn(&self, request: Request<pb::TxnRequest>) -> Result<Response<pb::TxnResponse>, Status> {
        let store = self.face.admit(&request).await?;
        let wanted = convert::txn(request.get_ref(), self.face.store.core().limits.txn_depth_max)?;
        let (store, write) = TracedWrite::begin("txn", store);
        let response = store.txn(wanted).await;
        write.end(&response, |txn| wrote(txn).then_some(txn.revision));
        let response = response.map_err(|error| refusal::of_write(&error))?;
        if wrote(&response) {
            self.face.pace().await;
        }
        let header = self.face.header(response.revision);
        Ok(Response::new(convert::txn_response(header, response)))
    }

    /// Only for administrators, as since etcd 3.6.9. With `physical` etcd answers when the space is free. Here it comes back in the background either way, and no read can tell.
    async fn compact(
        &self,
        request: Request<pb::CompactionRequest>,
    ) -> Result<Response<pb::CompactionResponse>, Status> {
        let store = self.face.admit_for(&request, Need::Admin).await?;
        let revision = Revision(request.get_ref().revision);
        let (store, write) = TracedWrite::begin("compact", store);
        let done = store.compact(revision).await;
        write.end(&done, |()| None);
        done.map_err(|error| refusal::of_compact(&error))?;
        Ok(Response::new(pb::CompactionResponse { header: self.face.current_header() }))
    }
}

/// For calls that do not take the short way.
#[tonic::async_trait]
impl Kv for KvService {
    async fn range(&self, request: Request<pb::RangeRequest>) -> Result<Response<pb::RangeResponse>, Status> {
        Self::range(self, request).await
    }

    type RangeStreamStream = Pin<Box<dyn Stream<Item = Result<pb::RangeStreamResponse, Status>> + Send>>;

    async fn range_stream(
        &self,
        request: Request<pb::RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        let store = self.face.admit(&request).await?;
        let wanted = range_stream::request(request.get_ref())?;
        Ok(Response::new(Box::pin(range_stream::stream(Arc::clone(&self.face), store, wanted))))
    }

    async fn put(&self, request: Request<pb::PutRequest>) -> Result<Response<pb::PutResponse>, Status> {
        Self::put(self, request).await
    }

    async fn delete_range(
        &self,
        request: Request<pb::DeleteRangeRequest>,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        Self::delete_range(self, request).await
    }

    async fn txn(&self, request: Request<pb::TxnRequest>) -> Result<Response<pb::TxnResponse>, Status> {
        Self::txn(self, request).await
    }

    async fn compact(
        &self,
        request: Request<pb::CompactionRequest>,
    ) -> Result<Response<pb::CompactionResponse>, Status> {
        Self::compact(self, request).await
    }
}
