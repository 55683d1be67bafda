//! Lock and Election.
use std::time::Duration;

use futures::StreamExt;
use mainstay_proto_wire::etcd::{v3electionpb as election, v3lockpb as lock};
use mainstay_store::{LeaseId, RangeRequest};
use tonic::Code;
use tonic::transport::Channel;

use crate::rig::{Rig, SOON, bytes, refused};

type Locks = lock::lock_client::LockClient<Channel>;
type Elections = election::election_client::ElectionClient<Channel>;

async fn lease(rig: &Rig, id: i64) -> i64 {
    rig.store.lease_grant(Duration::from_secs(600), Some(LeaseId(id))).await.unwrap().id.0
}

async fn waiters(rig: &Rig, name: &str, count: u64) {
    let enough = async {
        let prefix = format!("{name}/");
        loop {
            let from = rig.store.revision();
            if rig.store.range(RangeRequest::prefix(prefix.clone())).await.unwrap().count == count {
                return;
            }
            let request = mainstay_store::WatchRequest::prefix(prefix.clone()).starting_at(from.next());
            rig.store.watch(request).await.next().await.unwrap();
        }
    };
    tokio::time::timeout(SOON, enough).await.unwrap();
}

#[tokio::test]
async fn a_lock_is_held_by_one_and_passes_on() {
    let rig = Rig::start().await;
    let ask = |id| lock::LockRequest { name: bytes("l"), lease: id };
    let (one, two) = (lease(&rig, 0x10).await, lease(&rig, 0x20).await);
    let mut locks = Locks::new(rig.channel.clone());
    let first = locks.lock(ask(one)).await.unwrap().into_inner();
    assert_eq!(first.key, "l/10");
    assert_eq!(locks.lock(ask(one)).await.unwrap().into_inner().key, "l/10", "it is held already");
    let mut second = tokio::task::JoinSet::new();
    let mut other = locks.clone();
    second.spawn(async move { other.lock(ask(two)).await });
    waiters(&rig, "l", 2).await;
    assert!(second.try_join_next().is_none(), "it is held");
    let unlocked = locks.unlock(lock::UnlockRequest { key: first.key }).await.unwrap().into_inner();
    assert!(unlocked.header.unwrap().revision > 0);
    let second = tokio::time::timeout(SOON, second.join_next()).await.unwrap().unwrap().unwrap();
    assert_eq!(second.unwrap().into_inner().key, "l/20");
    rig.store.lease_revoke(LeaseId(two)).await.unwrap();
    let third = locks.lock(ask(0)).await.unwrap().into_inner();
    assert!(third.key.starts_with(b"l/"), "a lease is made for who has none");
    rig.stop().await;
}

#[tokio::test]
async fn who_stops_waiting_for_a_lock_is_no_longer_in_the_way() {
    let rig = Rig::start().await;
    let ask = |id| lock::LockRequest { name: bytes("l"), lease: id };
    let mut locks = Locks::new(rig.channel.clone());
    locks.lock(ask(lease(&rig, 1).await)).await.unwrap();
    let mut waiting = tokio::task::JoinSet::new();
    let (two, mut other) = (lease(&rig, 2).await, locks.clone());
    waiting.spawn(async move { other.lock(ask(two)).await });
    waiters(&rig, "l", 2).await;
    waiting.shutdown().await;
    waiters(&rig, "l", 1).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_lock_whose_lease_ends_while_it_waits_is_not_given() {
    let rig = Rig::start().await;
    let ask = |id| lock::LockRequest { name: bytes("l"), lease: id };
    let mut locks = Locks::new(rig.channel.clone());
    let (one, two) = (lease(&rig, 1).await, lease(&rig, 2).await);
    let first = locks.lock(ask(one)).await.unwrap().into_inner();
    let mut waiting = tokio::task::JoinSet::new();
    let mut other = locks.clone();
    waiting.spawn(async move { other.lock(ask(two)).await });
    waiters(&rig, "l", 2).await;
    rig.store.lease_revoke(LeaseId(two)).await.unwrap();
    locks.unlock(lock::UnlockRequest { key: first.key }).await.unwrap();
    let answer = tokio::time::timeout(SOON, waiting.join_next()).await.unwrap().unwrap().unwrap();
    assert_eq!(refused(answer), (Code::Unknown, "mutex: session is expired".into()));
    let unknown = locks.lock(ask(99)).await;
    assert_eq!(refused(unknown), (Code::NotFound, "etcdserver: requested lease not found".into()));
    rig.stop().await;
}

#[tokio::test]
async fn an_election_has_one_leader_who_proclaims_and_resigns() {
    let rig = Rig::start().await;
    let mut elections = Elections::new(rig.channel.clone());
    let campaign =
        |id, value: &str| election::CampaignRequest { name: bytes("e"), lease: id, value: bytes(value) };
    let ask = || election::LeaderRequest { name: bytes("e") };
    assert_eq!(refused(elections.leader(ask()).await), (Code::Unknown, "election: no leader".into()));
    let mut seen = elections.observe(ask()).await.unwrap().into_inner();
    let mut observed = async || {
        let next = tokio::time::timeout(SOON, seen.next()).await.unwrap().unwrap().unwrap();
        String::from_utf8(next.kv.unwrap().value.to_vec()).unwrap()
    };
    let (one, two) = (lease(&rig, 0x10).await, lease(&rig, 0x20).await);
    let won = elections.campaign(campaign(one, "a")).await.unwrap().into_inner();
    let leader = won.leader.unwrap();
    assert_eq!((&leader.key[..], &leader.name[..], leader.lease), (&b"e/10"[..], &b"e"[..], one));
    assert_eq!(observed().await, "a");
    let told = elections.leader(ask()).await.unwrap().into_inner().kv.unwrap();
    assert_eq!((told.value, told.create_revision), (bytes("a"), leader.rev));
    let proclaim = |leader: Option<election::LeaderKey>, value: &str| election::ProclaimRequest {
        leader,
        value: bytes(value),
    };
    elections.proclaim(proclaim(Some(leader.clone()), "b")).await.unwrap();
    assert_eq!(observed().await, "b");
    let missing = elections.proclaim(proclaim(None, "b")).await;
    assert_eq!(refused(missing), (Code::Unknown, "\"leader\" field must be provided".into()));
    let mut second = tokio::task::JoinSet::new();
    let mut other = elections.clone();
    second.spawn(async move { other.campaign(campaign(two, "c")).await });
    waiters(&rig, "e", 2).await;
    let resign = || election::ResignRequest { leader: Some(leader.clone()) };
    elections.resign(resign()).await.unwrap();
    let second = tokio::time::timeout(SOON, second.join_next()).await.unwrap().unwrap().unwrap().unwrap();
    assert_eq!(second.into_inner().leader.unwrap().key, "e/20");
    assert_eq!(observed().await, "c");
    elections.resign(resign()).await.unwrap();
    let late = elections.proclaim(proclaim(Some(leader.clone()), "d")).await;
    assert_eq!(refused(late), (Code::Unknown, "election: not leader".into()));
    rig.stop().await;
}
