//! The service Lease.
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, stream};
use mainstay_proto_wire::etcd::etcdserverpb as pb;
use tonic::{Request, Response, Status, Streaming};

use super::face::Face;
use super::refusal;
use crate::Store;
use crate::api::{LeaseError, LeaseId};

/// Answers lease requests from the store.
#[derive(Debug)]
pub(super) struct LeaseService {
    pub(super) face: Arc<Face>,
}

impl LeaseService {
    /// A lease must outlive an election, or a change of leaders would end it.
    fn ttl_min(&self) -> Duration {
        let seconds = (self.face.config.election_timeout * 3 / 2).as_secs_f64().ceil();
        Duration::from_secs_f64(seconds.max(1.0))
    }
}

#[tonic::async_trait]
impl pb::lease_server::Lease for LeaseService {
    async fn lease_grant(
        &self,
        request: Request<pb::LeaseGrantRequest>,
    ) -> Result<Response<pb::LeaseGrantResponse>, Status> {
        let store = self.face.admit(&request).await?;
        let wanted = request.get_ref();
        let ttl = Duration::from_secs(wanted.ttl.max(0).unsigned_abs()).max(self.ttl_min());
        let id = (wanted.id != 0).then_some(LeaseId(wanted.id));
        let granted = store.lease_grant(ttl, id).await.map_err(|error| refusal::of_lease(&error))?;
        Ok(Response::new(pb::LeaseGrantResponse {
            header: self.face.header(granted.revision),
            id: granted.id.0,
            ttl: granted.ttl.as_secs() as i64,
            error: String::new(),
        }))
    }

    async fn lease_revoke(
        &self,
        request: Request<pb::LeaseRevokeRequest>,
    ) -> Result<Response<pb::LeaseRevokeResponse>, Status> {
        let id = LeaseId(request.get_ref().id);
        let store = self.face.admit(&request).await?;
        let revision = store.lease_revoke(id).await.map_err(|error| refusal::of_lease(&error))?;
        Ok(Response::new(pb::LeaseRevokeResponse { header: self.face.header(revision) }))
    }

    type LeaseKeepAliveStream =
        Pin<Box<dyn Stream<Item = Result<pb::LeaseKeepAliveResponse, Status>> + Send>>;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let who = self.face.credentials(&request)?;
        let state = (Arc::clone(&self.face), who, request.into_inner());
        let responses = stream::try_unfold(state, |(face, who, mut requests)| async move {
            let next = tokio::select! {
                biased;
                () = face.stop.cancelled() => return Err(refusal::STOPPED.into()),
                next = requests.message() => next?,
            };
            let Some(request) = next else { return Ok(None) };
            let store = face.acting(&who).await?;
            let response = keep_alive(&face, &store, LeaseId(request.id)).await?;
            Ok(Some((response, (face, who, requests))))
        });
        Ok(Response::new(Box::pin(responses)))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<pb::LeaseTimeToLiveRequest>,
    ) -> Result<Response<pb::LeaseTimeToLiveResponse>, Status> {
        let pb::LeaseTimeToLiveRequest { id, keys } = *request.get_ref();
        let store = self.face.admit(&request).await?;
        let response = match store.lease_time_to_live(LeaseId(id), keys).await {
            Ok(lease) => pb::LeaseTimeToLiveResponse {
                header: self.face.current_header(),
                id,
                ttl: lease.remaining.as_secs() as i64,
                granted_ttl: lease.granted.as_secs() as i64,
                keys: lease.keys,
            },
            Err(LeaseError::NotFound(_)) => pb::LeaseTimeToLiveResponse {
                header: self.face.current_header(),
                id,
                ttl: -1,
                ..Default::default()
            },
            Err(error) => return Err(refusal::of_lease(&error)),
        };
        Ok(Response::new(response))
    }

    async fn lease_leases(
        &self,
        request: Request<pb::LeaseLeasesRequest>,
    ) -> Result<Response<pb::LeaseLeasesResponse>, Status> {
        let store = self.face.admit(&request).await?;
        let leases = store.leases().await.map_err(|error| refusal::of_lease(&error))?;
        let leases = leases.into_iter().map(|lease| pb::LeaseStatus { id: lease.id.0 }).collect();
        Ok(Response::new(pb::LeaseLeasesResponse { header: self.face.current_header(), leases }))
    }
}

/// The header comes from before: a client must not see a renewal at a revision at which the lease was gone.
async fn keep_alive(face: &Face, store: &Store, id: LeaseId) -> Result<pb::LeaseKeepAliveResponse, Status> {
    let header = face.current_header();
    let ttl = match store.lease_keep_alive(id).await {
        Ok(ttl) => ttl.as_secs() as i64,
        Err(LeaseError::NotFound(_)) => 0,
        Err(error) => return Err(refusal::of_lease(&error)),
    };
    Ok(pb::LeaseKeepAliveResponse { header, id: id.0, ttl })
}
