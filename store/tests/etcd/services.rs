//! Cluster, Maintenance, health, reflection, and what is not served.
use futures::StreamExt;
use mainstay_proto_wire::etcd::etcdserverpb as pb;
use pb::cluster_client::ClusterClient;
use pb::maintenance_client::MaintenanceClient;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::rig::{Rig, refusal, refused};

#[tokio::test]
async fn every_header_names_cluster_member_and_term() {
    let rig = Rig::start().await;
    let header = rig.put("k", "v").await;
    let status = rig.store.status().await.unwrap();
    assert_eq!(
        (header.cluster_id, header.member_id, header.raft_term),
        (status.cluster_id, status.member_id, status.term)
    );
    rig.stop().await;
}

#[tokio::test]
async fn status_tells_versions_sizes_and_the_leader() {
    let rig = Rig::start().await;
    rig.put("k", "v").await;
    let mut maintenance = MaintenanceClient::new(rig.channel.clone());
    let status = maintenance.status(pb::StatusRequest {}).await.unwrap().into_inner();
    let member = status.header.as_ref().unwrap().member_id;
    assert!(status.version.starts_with("3.6.") && status.storage_version.starts_with("3.6"));
    assert_eq!((status.leader, status.is_learner, status.errors.len()), (member, false, 0));
    assert!(
        status.raft_applied_index > 0
            && status.raft_index >= status.raft_applied_index
            && status.raft_term > 0
    );
    assert!(status.db_size >= status.db_size_in_use && status.db_size_in_use >= 0);
    assert_eq!(status.downgrade_info, Some(pb::DowngradeInfo::default()));
    rig.stop().await;
}

#[tokio::test]
async fn the_member_list_has_this_member() {
    let rig = Rig::start().await;
    let mut cluster = ClusterClient::new(rig.channel.clone());
    let list = cluster.member_list(pb::MemberListRequest { linearizable: true }).await.unwrap().into_inner();
    let member = &list.members[0];
    assert_eq!((list.members.len(), member.name.as_str(), member.is_learner), (1, "default", false));
    assert_eq!(member.id, list.header.unwrap().member_id);
    assert_eq!(member.client_ur_ls, ["http://localhost:2379"]);
    rig.stop().await;
}

#[tokio::test]
async fn downgrades_are_refused_in_etcds_words() {
    let rig = Rig::start().await;
    let mut maintenance = MaintenanceClient::new(rig.channel.clone());
    let cases = [
        (0, "3.5.0", refusal(Code::InvalidArgument, "invalid downgrade target version")),
        (1, "x", refusal(Code::InvalidArgument, "wrong downgrade target version format")),
        (2, "", refusal(Code::FailedPrecondition, "no inflight downgrade job")),
    ];
    for (action, version, wanted) in cases {
        let request = pb::DowngradeRequest { action, version: version.into() };
        assert_eq!(refused(maintenance.downgrade(request).await), wanted);
    }
    maintenance.defragment(pb::DefragmentRequest {}).await.unwrap();
    assert!(maintenance.alarm(pb::AlarmRequest::default()).await.unwrap().into_inner().alarms.is_empty());
    rig.stop().await;
}

#[tokio::test]
async fn a_client_that_needs_a_leader_is_served_with_one() {
    let rig = Rig::start().await;
    let mut request = Request::new(pb::RangeRequest { key: crate::rig::bytes("k"), ..Default::default() });
    request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
    rig.kv().range(request).await.unwrap();
    rig.stop().await;
}

#[tokio::test]
async fn health_and_reflection_answer() {
    let rig = Rig::start().await;
    let mut health = HealthClient::new(rig.channel.clone());
    let checked = health.check(HealthCheckRequest { service: String::new() }).await.unwrap().into_inner();
    assert_eq!(checked.status(), ServingStatus::Serving);
    let mut reflection = ServerReflectionClient::new(rig.channel.clone());
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers =
        reflection.server_reflection_info(futures::stream::iter([ask])).await.unwrap().into_inner();
    let answer = answers.next().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(list)) = answer else { panic!("{answer:?}") };
    let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    for service in ["KV", "Watch", "Lease", "Cluster", "Maintenance", "Auth"] {
        assert!(names.contains(&format!("etcdserverpb.{service}")), "{names:?}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused() {
    let rig = Rig::start().await;
    let value = crate::rig::bytes(&"v".repeat(1 << 20));
    let request = pb::PutRequest { key: crate::rig::bytes("k"), value, ..Default::default() };
    let (code, text) = refused(rig.kv().put(request).await);
    assert_eq!(code, Code::ResourceExhausted, "{text}");
    assert!(text.starts_with("grpc: received message larger than max"), "{text}");
    rig.stop().await;
}
