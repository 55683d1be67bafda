//! The service Cluster.
use std::sync::Arc;

use mainstay_proto_wire::etcd::etcdserverpb as pb;
use tonic::{Request, Response, Status};

use super::access::Need;
use super::face::Face;
use super::refusal;
use crate::Store;
use crate::api::{Member, Revision};

/// Answers questions about members, and changes them.
#[derive(Debug)]
pub(super) struct ClusterService {
    pub(super) face: Arc<Face>,
}

impl ClusterService {
    /// As in etcd, the answers of this service have no revision.
    fn header(&self) -> Option<pb::ResponseHeader> {
        self.face.header(Revision(0))
    }

    async fn members(&self, store: &Store, linearizable: bool) -> Result<Vec<pb::Member>, Status> {
        let members = store.members(linearizable).await.map_err(|error| refusal::of_cluster(&error))?;
        Ok(members.into_iter().map(|member| self.member(member)).collect())
    }

    /// A member that stays alone was told its name and URLs by the face's configuration only.
    fn member(&self, member: Member) -> pb::Member {
        let mut found = pb::Member {
            id: member.id,
            name: member.name,
            peer_ur_ls: member.peer_urls,
            client_ur_ls: member.client_urls,
            is_learner: member.is_learner,
        };
        if found.id == self.face.store.member_id() {
            let config = &self.face.config;
            if found.name.is_empty() {
                found.name.clone_from(&config.name);
            }
            if found.peer_ur_ls.is_empty() {
                found.peer_ur_ls.clone_from(&config.peer_urls);
            }
            if found.client_ur_ls.is_empty() {
                found.client_ur_ls.clone_from(&config.client_urls);
            }
        }
        found
    }
}

#[tonic::async_trait]
impl pb::cluster_server::Cluster for ClusterService {
    async fn member_add(
        &self,
        request: Request<pb::MemberAddRequest>,
    ) -> Result<Response<pb::MemberAddResponse>, Status> {
        let store = self.face.admit_for(&request, Need::Admin).await?;
        let wanted = request.into_inner();
        let added = store.member_add(wanted.peer_ur_ls, wanted.is_learner).await;
        let added = added.map_err(|error| refusal::of_cluster(&error))?;
        let members = self.members(&store, false).await?;
        let member = Some(self.member(added));
        Ok(Response::new(pb::MemberAddResponse { header: self.header(), member, members }))
    }

    async fn member_remove(
        &self,
        request: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        let store = self.face.admit_for(&request, Need::Admin).await?;
        store.member_remove(request.get_ref().id).await.map_err(|error| refusal::of_cluster(&error))?;
        let members = self.members(&store, false).await?;
        Ok(Response::new(pb::MemberRemoveResponse { header: self.header(), members }))
    }

    async fn member_update(
        &self,
        request: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        let store = self.face.admit_for(&request, Need::Admin).await?;
        let pb::MemberUpdateRequest { id, peer_ur_ls } = request.into_inner();
        store.member_update(id, peer_ur_ls).await.map_err(|error| refusal::of_cluster(&error))?;
        let members = self.members(&store, false).await?;
        Ok(Response::new(pb::MemberUpdateResponse { header: self.header(), members }))
    }

    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        let store = self.face.admit_for(&request, Need::Identity).await?;
        let members = self.members(&store, request.get_ref().linearizable).await?;
        Ok(Response::new(pb::MemberListResponse { header: self.header(), members }))
    }

    async fn member_promote(
        &self,
        request: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        let store = self.face.admit_for(&request, Need::Admin).await?;
        store.member_promote(request.get_ref().id).await.map_err(|error| refusal::of_cluster(&error))?;
        let members = self.members(&store, false).await?;
        Ok(Response::new(pb::MemberPromoteResponse { header: self.header(), members }))
    }
}
