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
use super::{ETCD_VERSION, refusal, snapshot};
use crate::api::{Alarm, AlarmKind, Revision};

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
        let store = self.face.admit_for(&request, need).await?;
        let wanted = request.get_ref();
        let kind = pb::AlarmType::try_from(wanted.alarm).unwrap_or(pb::AlarmType::None);
        let changed: Vec<Alarm> = match (action, alarm_kind(kind)) {
            (Ok(AlarmAction::Get), kind) => store
                .alarms()
                .into_iter()
                .filter(|alarm| kind.is_none_or(|kind| alarm.kind == kind))
                .collect(),
            (Ok(AlarmAction::Activate), Some(kind)) => {
                let alarm = Alarm { member_id: wanted.member_id, kind };
                store.alarm_activate(alarm).await.map_err(|error| refusal::of_write(&error))?;
                vec![alarm]
            }
            (Ok(AlarmAction::Deactivate), Some(kind)) => {
                let alarm = Alarm { member_id: wanted.member_id, kind };
                let disarmed = store.alarm_disarm(alarm).await.map_err(|error| refusal::of_write(&error))?;
                if disarmed { vec![alarm] } else { Vec::new() }
            }
            // As in etcd, no kind and an unknown action are no error.
            _ => Vec::new(),
        };
        let alarms = changed.into_iter().map(alarm_member).collect();
        Ok(Response::new(pb::AlarmResponse { header: self.face.current_header(), alarms }))
    }

    async fn status(
        &self,
        request: Request<pb::StatusRequest>,
    ) -> Result<Response<pb::StatusResponse>, Status> {
        self.face.admit_for(&request, Need::Identity).await?;
        let status = self.status_of_store().await?;
        let no_leader = status.leader.is_none().then(|| refusal::NO_LEADER.text().to_owned());
        let alarms = status.alarms.iter().map(|alarm| {
            format!("memberID:{} alarm:{} ", alarm.member_id, alarm_type(alarm.kind).as_str_name())
        });
        Ok(Response::new(pb::StatusResponse {
            header: self.face.current_header(),
            version: ETCD_VERSION.into(),
            db_size: status.db_size_bytes as i64,
            leader: status.leader.unwrap_or(0),
            raft_index: status.raft_index,
            raft_term: status.term,
            raft_applied_index: status.applied_index,
            errors: no_leader.into_iter().chain(alarms).collect(),
            db_size_in_use: status.db_size_in_use_bytes as i64,
            is_learner: status.is_learner,
            storage_version: super::ETCD_CLUSTER_VERSION.into(),
            db_size_quota: status.quota_bytes.unwrap_or(0) as i64,
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
        let store = self.face.admit_for(&request, Need::Admin).await?;
        let (hash, revision) = store.hash().await.map_err(|error| refusal::of_range(&error))?;
        Ok(Response::new(pb::HashResponse { header: self.face.header(revision), hash }))
    }

    async fn hash_kv(
        &self,
        request: Request<pb::HashKvRequest>,
    ) -> Result<Response<pb::HashKvResponse>, Status> {
        let store = self.face.admit_for(&request, Need::Admin).await?;
        let revision = Some(Revision(request.get_ref().revision)).filter(|revision| revision.0 > 0);
        let found = store.hash_kv(revision).await.map_err(|error| refusal::of_range(&error))?;
        Ok(Response::new(pb::HashKvResponse {
            header: self.face.header(found.revision),
            hash: found.hash,
            // As etcd has it where nothing was ever compacted.
            compact_revision: if found.compact_revision.0 == 0 { -1 } else { found.compact_revision.0 },
            hash_revision: found.hash_revision.0,
        }))
    }

    type SnapshotStream = Pin<Box<dyn Stream<Item = Result<pb::SnapshotResponse, Status>> + Send>>;

    async fn snapshot(
        &self,
        request: Request<pb::SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        let store = self.face.admit_for(&request, Need::Admin).await?;
        Ok(Response::new(snapshot::answers(&self.face, store, request.metadata())?))
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

fn alarm_kind(kind: pb::AlarmType) -> Option<AlarmKind> {
    match kind {
        pb::AlarmType::None => None,
        pb::AlarmType::Nospace => Some(AlarmKind::NoSpace),
        pb::AlarmType::Corrupt => Some(AlarmKind::Corrupt),
    }
}

fn alarm_type(kind: AlarmKind) -> pb::AlarmType {
    match kind {
        AlarmKind::NoSpace => pb::AlarmType::Nospace,
        AlarmKind::Corrupt => pb::AlarmType::Corrupt,
    }
}

fn alarm_member(alarm: Alarm) -> pb::AlarmMember {
    pb::AlarmMember { member_id: alarm.member_id, alarm: alarm_type(alarm.kind).into() }
}

/// `3.5` or `3.5.0`.
fn is_version(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    matches!(parts.len(), 2 | 3) && parts.iter().all(|part| part.parse::<u32>().is_ok())
}
