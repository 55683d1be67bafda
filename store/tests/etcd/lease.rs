//! Lease.
use std::time::Duration;

use futures::StreamExt;
use mainstay_proto_wire::etcd::etcdserverpb as pb;
use pb::lease_client::LeaseClient;
use tonic::Code;

use crate::rig::{Rig, SOON, bytes, refusal, refused};

#[tokio::test]
async fn a_lease_is_granted_kept_alive_looked_at_and_revoked() {
    let rig = Rig::start().await;
    let mut leases = LeaseClient::new(rig.channel.clone());
    let granted = leases.lease_grant(pb::LeaseGrantRequest { ttl: 100, id: 77 }).await.unwrap().into_inner();
    assert_eq!((granted.id, granted.ttl, granted.error.as_str()), (77, 100, ""));
    assert_eq!(granted.header.unwrap().revision, 1);
    let chosen = leases.lease_grant(pb::LeaseGrantRequest { ttl: 1, id: 0 }).await.unwrap().into_inner();
    assert!(chosen.id > 0);
    assert_eq!(chosen.ttl, 2, "shorter than an election is too short");
    rig.kv().put(pb::PutRequest { key: bytes("k"), lease: 77, ..Default::default() }).await.unwrap();

    let ask = |id, keys| pb::LeaseTimeToLiveRequest { id, keys };
    let left = leases.lease_time_to_live(ask(77, true)).await.unwrap().into_inner();
    assert!((90..=100).contains(&left.ttl) && left.granted_ttl == 100 && left.keys == ["k"], "{left:?}");
    assert!(leases.lease_time_to_live(ask(77, false)).await.unwrap().into_inner().keys.is_empty());
    let unknown = leases.lease_time_to_live(ask(5, true)).await.unwrap().into_inner();
    assert_eq!((unknown.ttl, unknown.granted_ttl, unknown.id), (-1, 0, 5));

    let all = leases.lease_leases(pb::LeaseLeasesRequest {}).await.unwrap().into_inner().leases;
    assert_eq!(all.len(), 2);

    let asked = futures::stream::iter([77, 5, 77].map(|id| pb::LeaseKeepAliveRequest { id }));
    let kept = leases.lease_keep_alive(asked).await.unwrap().into_inner();
    let kept: Vec<_> = kept.map(|response| response.unwrap()).map(|kept| (kept.id, kept.ttl)).collect().await;
    assert_eq!(kept, [(77, 100), (5, 0), (77, 100)], "an unknown lease has no time left; the stream goes on");

    let revoked = leases.lease_revoke(pb::LeaseRevokeRequest { id: 77 }).await.unwrap().into_inner();
    assert_eq!(revoked.header.unwrap().revision, 3, "its key was deleted");
    rig.stop().await;
}

#[tokio::test]
async fn wrong_leases_are_refused_in_etcds_words() {
    let rig = Rig::start().await;
    let mut leases = LeaseClient::new(rig.channel.clone());
    leases.lease_grant(pb::LeaseGrantRequest { ttl: 100, id: 7 }).await.unwrap();
    let taken = refused(leases.lease_grant(pb::LeaseGrantRequest { ttl: 100, id: 7 }).await);
    assert_eq!(taken, refusal(Code::FailedPrecondition, "lease already exists"));
    let long = refused(leases.lease_grant(pb::LeaseGrantRequest { ttl: 9_000_000_001, id: 0 }).await);
    assert_eq!(long, refusal(Code::OutOfRange, "too large lease TTL"));
    let unknown = refused(leases.lease_revoke(pb::LeaseRevokeRequest { id: 8 }).await);
    assert_eq!(unknown, refusal(Code::NotFound, "requested lease not found"));
    rig.stop().await;
}

#[tokio::test]
async fn a_lease_that_is_not_kept_alive_ends_with_its_keys() {
    let rig = Rig::start().await;
    let mut leases = LeaseClient::new(rig.channel.clone());
    let granted = leases.lease_grant(pb::LeaseGrantRequest { ttl: 2, id: 0 }).await.unwrap().into_inner();
    let mut watch = rig.store.watch(mainstay_store::WatchRequest::key("k")).await;
    rig.kv().put(pb::PutRequest { key: bytes("k"), lease: granted.id, ..Default::default() }).await.unwrap();
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let batch = tokio::time::timeout(SOON + Duration::from_secs(2), watch.next()).await.unwrap().unwrap();
        kinds.push(batch.events[0].kind);
    }
    assert_eq!(kinds, [mainstay_store::EventKind::Put, mainstay_store::EventKind::Delete]);
    rig.stop().await;
}
