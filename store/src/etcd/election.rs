//! The service Election: the leader is the oldest key below the election's name, for as long as that key's lease.
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, stream};
use mainstay_proto_wire::etcd::{etcdserverpb::ResponseHeader, v3electionpb as pb};
use tonic::{Request, Response, Status};

use super::candidates::{Candidates, Claim, Place, give_up, session, still};
use super::convert::{self, owned};
use super::face::Face;
use super::refusal;
use crate::Store;
use crate::api::{EventKind, KeyValue, LeaseId, PutRequest, Revision, WatchRequest};
use crate::watch::Watch;

/// Answers Election requests from the store.
#[derive(Debug)]
pub(super) struct ElectionService {
    pub(super) face: Arc<Face>,
}

#[tonic::async_trait]
impl pb::election_server::Election for ElectionService {
    async fn campaign(
        &self,
        request: Request<pb::CampaignRequest>,
    ) -> Result<Response<pb::CampaignResponse>, Status> {
        let store = self.face.admit(&request).await?;
        let message = request.get_ref();
        let lease = session(&store, message.lease).await?;
        let candidates = Candidates::new(store, &message.name);
        let value = owned(&message.value);
        let place = candidates.enter(lease, value.clone()).await?;
        let claim = Claim::new(candidates.store().clone(), &place);
        if place.found.as_ref().is_some_and(|kv| kv.value != value) {
            proclaim(candidates.store(), &place.key, place.create_revision, lease, value).await?;
        }
        self.face.until_stop(candidates.wait_for_turn(place.create_revision)).await?;
        claim.keep();
        let Place { key, create_revision, revision, .. } = place;
        let leader =
            pb::LeaderKey { name: owned(&message.name), key, rev: create_revision.0, lease: lease.0 };
        Ok(Response::new(pb::CampaignResponse { header: self.face.header(revision), leader: Some(leader) }))
    }

    async fn proclaim(
        &self,
        request: Request<pb::ProclaimRequest>,
    ) -> Result<Response<pb::ProclaimResponse>, Status> {
        let store = self.face.admit(&request).await?;
        let pb::ProclaimRequest { leader, value } = request.get_ref();
        let leader = leader_of(leader.as_ref())?;
        let lease = session(&store, leader.lease).await?;
        let revision =
            proclaim(&store, &owned(&leader.key), Revision(leader.rev), lease, owned(value)).await?;
        Ok(Response::new(pb::ProclaimResponse { header: self.face.header(revision) }))
    }

    async fn leader(
        &self,
        request: Request<pb::LeaderRequest>,
    ) -> Result<Response<pb::LeaderResponse>, Status> {
        let store = self.face.admit(&request).await?;
        let (first, revision) = Candidates::new(store, &request.get_ref().name).first().await?;
        let kv = first.ok_or_else(|| Status::unknown("election: no leader"))?;
        Ok(Response::new(answer(self.face.header(revision), kv)))
    }

    type ObserveStream = Pin<Box<dyn Stream<Item = Result<pb::LeaderResponse, Status>> + Send>>;

    async fn observe(
        &self,
        request: Request<pb::LeaderRequest>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        let store = self.face.admit(&request).await?;
        let candidates = Candidates::new(store, &request.get_ref().name);
        let observer = Observer { face: Arc::clone(&self.face), candidates, following: None };
        let leaders = stream::try_unfold(observer, |mut observer| async move {
            let face = Arc::clone(&observer.face);
            let leader = face.until_stop(observer.next()).await?;
            Ok(Some((leader, observer)))
        });
        Ok(Response::new(Box::pin(leaders)))
    }

    /// Resigning a place that is gone already is no error.
    async fn resign(
        &self,
        request: Request<pb::ResignRequest>,
    ) -> Result<Response<pb::ResignResponse>, Status> {
        let store = self.face.admit(&request).await?;
        let leader = leader_of(request.get_ref().leader.as_ref())?;
        let txn = give_up(owned(&leader.key), Revision(leader.rev));
        let response = store.txn(txn).await.map_err(|error| refusal::of_write(&error))?;
        Ok(Response::new(pb::ResignResponse { header: self.face.header(response.revision) }))
    }
}

fn leader_of(leader: Option<&pb::LeaderKey>) -> Result<&pb::LeaderKey, Status> {
    leader.ok_or_else(|| Status::unknown("\"leader\" field must be provided"))
}

/// Sets the leader's value, if it still leads.
async fn proclaim(
    store: &Store,
    key: &Bytes,
    create_revision: Revision,
    lease: LeaseId,
    value: Bytes,
) -> Result<Revision, Status> {
    let put = PutRequest { lease, ..PutRequest::new(key.clone(), value) };
    let txn = still(key.clone(), create_revision).then([put]);
    let response = store.txn(txn).await.map_err(|error| refusal::of_write(&error))?;
    if response.succeeded { Ok(response.revision) } else { Err(Status::unknown("election: not leader")) }
}

fn answer(header: Option<ResponseHeader>, kv: KeyValue) -> pb::LeaderResponse {
    pb::LeaderResponse { header, kv: Some(convert::key_value(kv)) }
}

/// Tells each leader and each value that it proclaims; what comes and goes between two looks may be missed, the newest is not.
struct Observer {
    face: Arc<Face>,
    candidates: Candidates,
    /// The leader's key.
    following: Option<Watch>,
}

impl Observer {
    async fn next(&mut self) -> Result<pb::LeaderResponse, Status> {
        loop {
            let Some(watch) = &mut self.following else { return self.elect().await };
            let batch = watch.next().await.map_err(|error| refusal::of_watch(&error))?;
            let Some(event) = batch.events.into_iter().next_back() else { continue };
            match event.kind {
                EventKind::Put => return Ok(answer(self.face.header(batch.revision), event.kv)),
                EventKind::Delete => self.following = None,
            }
        }
    }

    /// Waits for a leader, and follows it.
    async fn elect(&mut self) -> Result<pb::LeaderResponse, Status> {
        let (first, revision) = self.candidates.first().await?;
        let (kv, revision) = match first {
            Some(kv) => (kv, revision),
            None => self.first_put(revision.next()).await?,
        };
        let follow = WatchRequest::key(kv.key.clone()).starting_at(revision.next());
        self.following = Some(self.candidates.store().watch(follow).await);
        Ok(answer(self.face.header(revision), kv))
    }

    async fn first_put(&self, from: Revision) -> Result<(KeyValue, Revision), Status> {
        let request = WatchRequest::prefix(self.candidates.prefix().clone()).starting_at(from);
        let mut watch = self.candidates.store().watch(request).await;
        loop {
            let batch = watch.next().await.map_err(|error| refusal::of_watch(&error))?;
            if let Some(event) = batch.events.into_iter().find(|event| event.kind == EventKind::Put) {
                return Ok((event.kv, batch.revision));
            }
        }
    }
}
