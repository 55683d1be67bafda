//! The service Lock: a lock is held by the oldest key below its name, for as long as that key's lease.
use std::sync::Arc;

use mainstay_proto_wire::etcd::v3lockpb as pb;
use tonic::{Request, Response, Status};

use super::candidates::{Candidates, Claim, session};
use super::convert::owned;
use super::face::Face;
use super::refusal;

/// Answers Lock requests from the store.
#[derive(Debug)]
pub(super) struct LockService {
    pub(super) face: Arc<Face>,
}

#[tonic::async_trait]
impl pb::lock_server::Lock for LockService {
    async fn lock(&self, request: Request<pb::LockRequest>) -> Result<Response<pb::LockResponse>, Status> {
        let store = self.face.admit(&request).await?;
        let message = request.get_ref();
        let lease = session(&store, message.lease).await?;
        let candidates = Candidates::new(store, &message.name);
        let place = candidates.enter(lease, bytes::Bytes::new()).await?;
        let claim = Claim::new(candidates.store().clone(), &place);
        self.face.until_stop(candidates.wait_for_turn(place.create_revision)).await?;
        // The lease may have ended while others held the lock.
        let held =
            candidates.store().get(place.key.clone()).await.map_err(|error| refusal::of_range(&error))?;
        if held.is_none_or(|kv| kv.create_revision != place.create_revision) {
            return Err(Status::unknown("mutex: session is expired"));
        }
        claim.keep();
        Ok(Response::new(pb::LockResponse { header: self.face.current_header(), key: place.key }))
    }

    async fn unlock(
        &self,
        request: Request<pb::UnlockRequest>,
    ) -> Result<Response<pb::UnlockResponse>, Status> {
        let store = self.face.admit(&request).await?;
        let deleted = store.delete(owned(&request.get_ref().key)).await;
        let deleted = deleted.map_err(|error| refusal::of_write(&error))?;
        Ok(Response::new(pb::UnlockResponse { header: self.face.header(deleted.revision) }))
    }
}
