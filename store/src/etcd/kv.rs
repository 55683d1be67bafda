//! The service KV.
use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use mainstay_base::telemetry::trace;
use mainstay_proto_wire::etcd::etcdserverpb as pb;
use tonic::{Request, Response, Status};

use super::face::Face;
use super::traced::{TracedWrite, wrote};
use super::{convert, range_stream, refusal};
use crate::api::Revision;

/// Answers KV requests from the store.
#[derive(Debug)]
pub(super) struct KvService {
    pub(super) face: Arc<Face>,
}

#[tonic::async_trait]
impl pb::kv_server::Kv for KvService {
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

    /// With `physical` etcd answers when the space is free. Here it comes back in the background either way, and no read can tell.
    async fn compact(
        &self,
        request: Request<pb::CompactionRequest>,
    ) -> Result<Response<pb::CompactionResponse>, Status> {
        let store = self.face.admit(&request).await?;
        let revision = Revision(request.get_ref().revision);
        let (store, write) = TracedWrite::begin("compact", store);
        let done = store.compact(revision).await;
        write.end(&done, |()| None);
        done.map_err(|error| refusal::of_compact(&error))?;
        Ok(Response::new(pb::CompactionResponse { header: self.face.current_header() }))
    }
}
