//! A member without a vote answers little, and says so in etcd's words.
use std::sync::Arc;
use std::time::Duration;

use mainstay_proto_wire::etcd::{etcdserverpb as pb, v3lockpb};
use mainstay_store::etcd::FaceConfig;
use mainstay_store::{
    ClusterConfig, Config, InitialMember, InitialState, MemoryNetwork, RangeRequest, Store,
};
use tonic::Code;

use crate::rig::{Rig, SOON, bytes, http, refusal, refused};

fn config(network: &MemoryNetwork, dir: &std::path::Path, member: usize) -> Config {
    let url = |member: usize| format!("http://m{member}:2380");
    let initial =
        (0..=member).map(|member| InitialMember { name: format!("m{member}"), peer_urls: vec![url(member)] });
    let name = format!("m{member}");
    let transport = network.transport(name.clone(), [url(member)]);
    let mut cluster = ClusterConfig::new(name, initial, Arc::new(transport));
    if member > 0 {
        cluster.state = InitialState::Existing;
    }
    Config {
        dir: dir.to_path_buf(),
        cluster: Some(cluster),
        sync: false,
        disk_reserve_bytes: 0,
        ..Config::default()
    }
}

#[tokio::test]
async fn a_learner_answers_status_snapshots_and_serializable_ranges_only() {
    let network = MemoryNetwork::new();
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let voter = Store::open(config(&network, dirs[0].path(), 0)).await.unwrap();
    voter.ready().await.unwrap();
    voter.member_add(vec!["http://m1:2380".into()], true).await.unwrap();
    voter.put("k", "v").await.unwrap();
    let [_kept, dir] = dirs;
    let learner = Store::open(config(&network, dir.path(), 1)).await.unwrap();
    learner.ready().await.unwrap();
    let caught_up = async {
        let own = || RangeRequest { serializable: true, ..RangeRequest::key("k") };
        while learner.range(own()).await.unwrap().count == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, caught_up).await.unwrap();
    let rig = Rig::over(learner, FaceConfig::default(), dir).await;

    let get = |serializable| pb::RangeRequest { key: bytes("k"), serializable, ..Default::default() };
    assert_eq!(rig.range(get(true)).await.unwrap().count, 1);
    let mut maintenance = pb::maintenance_client::MaintenanceClient::new(rig.channel.clone());
    assert!(maintenance.status(pb::StatusRequest {}).await.unwrap().into_inner().is_learner);
    let mut snapshot = maintenance.snapshot(pb::SnapshotRequest {}).await.unwrap().into_inner();
    assert!(!snapshot.message().await.unwrap().unwrap().blob.is_empty());

    let wanted = refusal(Code::FailedPrecondition, "rpc not supported for learner");
    assert_eq!(refused(rig.range(get(false)).await), wanted);
    let put = pb::PutRequest { key: bytes("k"), ..Default::default() };
    assert_eq!(refused(rig.kv().put(put).await), wanted);
    assert_eq!(refused(rig.kv().range_stream(get(true)).await), wanted);
    assert_eq!(refused(maintenance.hash_kv(pb::HashKvRequest { revision: 0 }).await), wanted);
    let mut members = pb::cluster_client::ClusterClient::new(rig.channel.clone());
    assert_eq!(refused(members.member_list(pb::MemberListRequest { linearizable: false }).await), wanted);
    let mut leases = pb::lease_client::LeaseClient::new(rig.channel.clone());
    let keep = futures::stream::iter([pb::LeaseKeepAliveRequest { id: 1 }]);
    assert_eq!(refused(leases.lease_keep_alive(keep).await), wanted);
    let mut watch = pb::watch_client::WatchClient::new(rig.channel.clone());
    assert_eq!(refused(watch.watch(futures::stream::pending()).await), wanted);
    let mut lock = v3lockpb::lock_client::LockClient::new(rig.channel.clone());
    assert_eq!(refused(lock.unlock(v3lockpb::UnlockRequest { key: bytes("k") }).await), wanted);
    let mut auth = pb::auth_client::AuthClient::new(rig.channel.clone());
    assert_eq!(refused(auth.auth_status(pb::AuthStatusRequest {}).await), wanted);
    let (status, readyz) = http(rig.port, "GET", "/readyz", "").await;
    assert!(status == 503 && readyz.contains("[-]non_learner failed"), "{readyz}");
    let (_, metrics) = http(rig.metrics_port, "GET", "/metrics", "").await;
    assert!(metrics.contains("etcd_server_is_learner 1\n"));
    let code = r#"grpc_code="FailedPrecondition",grpc_method="Put",grpc_service="etcdserverpb.KV""#;
    assert!(metrics.contains(code), "{metrics}");

    // With a vote it answers everything.
    let id = rig.store.member_id();
    let promoted = async {
        while voter.member_promote(id).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        while rig.range(get(false)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, promoted).await.unwrap();
    drop((maintenance, members, leases, watch, lock, auth, snapshot));
    let (stopped, closed) = tokio::join!(rig.stop(), voter.close());
    let () = stopped;
    closed.unwrap();
}
