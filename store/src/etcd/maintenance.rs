//! The service Maintenance.
use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use mainstay_proto_wire::etcd::etcdserverpb as pb;
use pb::alarm_request::AlarmAction;
use pb::downgrade_request::DowngradeAction;
use tonic::{Request, Response, Status};

use super::access::Need;
use super::face::Face;
use super::{ETCD_VERSION, refusal};

/// Answers for one member.
#[derive(Debug)]
pub(super) struct MaintenanceService {
    pub(super) face: Arc<Face>,
}

impl MaintenanceService {
    async fn status_of_store(&self) -> Result<crate::Status, Status> {
        self.face.store.status().await.map_err(|error| refusal::of_range(&error))
    }
}

#[tonic::async_trait]
impl pb::maintenance_server::Maintenance for MaintenanceService {
    async fn alarm(&self, request: Request<pb::AlarmRequest>) -> Result<Response<pb::AlarmResponse>, Status> {
        let action = AlarmAction::try_from(request.get_ref().action);
        let need = if action == Ok(AlarmAction::Get) { Need::Identity } else { Need::Admin };
        self.face.admit_for(&request, need).await?;
        if action != Ok(AlarmAction::Get) {
            return Err(Status::unimplemented(
                "alarms are raised and end by themselves here, with the space on the disk",
            ));
        }
        let status = self.status_of_store().await?;
        let no_space = pb::AlarmMember { member_id: status.member_id, alarm: pb::AlarmType::Nospace.into() };
        let alarms = if status.no_space { vec![no_space] } else { Vec::new() };
        Ok(Response::new(pb::AlarmResponse { header: self.face.current_header(), alarms }))
    }

    async fn status(
        &self,
        request: Request<pb::StatusRequest>,
    ) -> Result<Response<pb::StatusResponse>, Status> {
        self.face.admit_for(&request, Need::Identity).await?;
        let status = self.status_of_store().await?;
        let no_leader = status.leader.is_none().then(|| refusal::NO_LEADER.text().to_owned());
        let no_space = status.no_space.then(|| format!("memberID:{} alarm:NOSPACE ", status.member_id));
        Ok(Response::new(pb::StatusResponse {
            header: self.face.current_header(),
            version: ETCD_VERSION.into(),
            db_size: status.db_size_bytes as i64,
            leader: status.leader.unwrap_or(0),
            raft_index: status.raft_index,
            raft_term: status.term,
            raft_applied_index: status.applied_index,
            errors: no_leader.into_iter().chain(no_space).collect(),
            db_size_in_use: status.db_size_bytes.saturating_sub(status.log_size_bytes) as i64,
            is_learner: status.is_learner,
            storage_version: super::ETCD_CLUSTER_VERSION.into(),
            db_size_quota: 0,
            downgrade_info: Some(pb::DowngradeInfo::default()),
        }))
    }

    /// Space comes back by itself here: there is nothing to do, and so nothing that could stop the store.
    async fn defragment(
        &self,
        request: Request<pb::DefragmentRequest>,
    ) -> Result<Response<pb::DefragmentResponse>, Status> {
        self.face.admit_for(&request, Need::Admin).await?;
        Ok(Response::new(pb::DefragmentResponse { header: None }))
    }

    async fn hash(&self, request: Request<pb::HashRequest>) -> Result<Response<pb::HashResponse>, Status> {
        self.face.admit_for(&request, Need::Admin).await?;
        Err(Status::unimplemented("hashing the tables is not there yet"))
    }

    async fn hash_kv(
        &self,
        request: Request<pb::HashKvRequest>,
    ) -> Result<Response<pb::HashKvResponse>, Status> {
        self.face.admit_for(&request, Need::Admin).await?;
        Err(Status::unimplemented("hashing the keys is not there yet"))
    }

    type SnapshotStream = Pin<Box<dyn Stream<Item = Result<pb::SnapshotResponse, Status>> + Send>>;

    async fn snapshot(
        &self,
        request: Request<pb::SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        self.face.admit_for(&request, Need::Admin).await?;
        Err(Status::unimplemented("snapshots are not there yet"))
    }

    async fn move_leader(
        &self,
        request: Request<pb::MoveLeaderRequest>,
    ) -> Result<Response<pb::MoveLeaderResponse>, Status> {
        let store = self.face.admit_for(&request, Need::Admin).await?;
        if !self.face.leadership.borrow().is_leader {
            return Err(refusal::NOT_LEADER.into());
        }
        let moved = store.move_leader(request.get_ref().target_id).await;
        moved.map_err(|error| refusal::of_cluster(&error))?;
        Ok(Response::new(pb::MoveLeaderResponse { header: None }))
    }

    /// The data has one format: there is no version to go back to.
    async fn downgrade(
        &self,
        request: Request<pb::DowngradeRequest>,
    ) -> Result<Response<pb::DowngradeResponse>, Status> {
        self.face.admit_for(&request, Need::Admin).await?;
        let wanted = request.get_ref();
        Err(match DowngradeAction::try_from(wanted.action) {
            Ok(DowngradeAction::Cancel) => refusal::NO_INFLIGHT_DOWNGRADE.into(),
            Ok(_) if !is_version(&wanted.version) => refusal::WRONG_DOWNGRADE_VERSION.into(),
            Ok(_) => refusal::INVALID_DOWNGRADE_TARGET.into(),
            Err(_unknown) => Status::unknown("etcdserver: unknown method"),
        })
    }
}

/// `3.5` or `3.5.0`.
fn is_version(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    matches!(parts.len(), 2 | 3) && parts.iter().all(|part| part.parse::<u32>().is_ok())
}
