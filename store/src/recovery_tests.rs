//! A quorum that is lost for good, and the one member that is left.
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;

use crate::api::{
    ClusterConfig, Config, InitialMember, InitialState, OpenError, RangeError, RangeRequest, Revision,
    WatchRequest,
};
use crate::recovery::{KILLED_AFTER, RecoverError, RecoverOptions, Step, plan_recovery, recover};
use crate::{MemoryNetwork, Store};

const DEADLINE: Duration = Duration::from_secs(30);
const NAMES: [&str; 3] = ["a", "b", "c"];

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work).await.expect("it takes too long")
}

fn member(name: &str) -> InitialMember {
    InitialMember { name: name.into(), peer_urls: vec![format!("http://{name}:2380")] }
}

fn config(network: &MemoryNetwork, dir: &Path, name: &str, told: &[&str], state: InitialState) -> Config {
    let transport = network.transport(name.to_owned(), member(name).peer_urls);
    let told = told.iter().map(|name| member(name));
    let cluster = ClusterConfig { state, ..ClusterConfig::new(name, told, Arc::new(transport)) };
    let dir = dir.join(name);
    Config { dir, cluster: Some(cluster), disk_reserve_bytes: 0, sync: false, ..Config::default() }
}

async fn opened(network: &MemoryNetwork, dir: &Path, name: &str) -> Store {
    in_time(Store::open(config(network, dir, name, &NAMES, InitialState::New))).await.unwrap()
}

/// Three members with 50 puts.
async fn three(network: &MemoryNetwork, dir: &Path) -> Vec<Store> {
    let opening = NAMES.map(|name| opened(network, dir, name));
    let stores = futures::future::join_all(opening).await;
    for store in &stores {
        in_time(store.ready()).await.unwrap();
    }
    for i in 0..50 {
        in_time(stores[i % 3].put(format!("k{}", i % 10), format!("v{i}"))).await.unwrap();
    }
    for store in &stores {
        in_time(store.current_revision()).await.unwrap();
    }
    stores
}

/// Copies the directory as a power cut would leave it: what is not in the tables yet is in the log.
fn copied(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for item in std::fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let target = to.join(item.file_name());
        if item.file_type().unwrap().is_dir() {
            copied(&item.path(), &target);
        } else {
            std::fs::copy(item.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn a_survivor_goes_on_alone_with_all_it_has_and_takes_on_others() {
    let dir = tempfile::tempdir().unwrap();
    let network = MemoryNetwork::new();
    let stores = three(&network, dir.path()).await;
    let before = in_time(stores[0].range(RangeRequest::all())).await.unwrap();
    let lost = stores[0].cluster_id();
    for store in &stores {
        in_time(store.close()).await.unwrap();
    }
    let survivor = dir.path().join("a");
    let plan = plan_recovery(&survivor).await.unwrap();
    assert_eq!((plan.members.len(), plan.revision, plan.has_begun), (3, Revision(51), false));
    let options = RecoverOptions { bump_revision: 1000, mark_compacted: true };
    let recovered = recover(&survivor, &options).await.unwrap();
    assert_eq!(recovered.revision, Revision(1051));
    assert_ne!(recovered.cluster_id, lost);
    let plan = plan_recovery(&survivor).await.unwrap();
    assert_eq!((plan.members.len(), plan.revision, plan.has_begun), (1, Revision(1051), false));
    for _start in 0..2 {
        let store = opened(&network, dir.path(), "a").await;
        in_time(store.ready()).await.unwrap();
        assert_eq!(in_time(store.members(true)).await.unwrap().len(), 1);
        let now = in_time(store.range(RangeRequest::all())).await.unwrap();
        assert_eq!(now.kvs, before.kvs);
        let mut watch = store.watch(WatchRequest::prefix("").starting_at(Revision(40))).await;
        assert!(watch.next().await.is_err(), "watchers of before read anew");
        in_time(store.close()).await.unwrap();
    }
    let store = opened(&network, dir.path(), "a").await;
    in_time(store.ready()).await.unwrap();
    assert_eq!(in_time(store.put("after", "1")).await.unwrap().revision, Revision(1052));
    let added = in_time(store.member_add(member("d").peer_urls, false)).await.unwrap();
    let joining = config(&network, dir.path(), "d", &["a", "d"], InitialState::Existing);
    let joined = in_time(Store::open(joining)).await.unwrap();
    assert_eq!(joined.member_id(), added.id);
    in_time(joined.ready()).await.unwrap();
    assert_eq!(in_time(joined.range(RangeRequest::all())).await.unwrap().count, 11);
    for store in [joined, store] {
        in_time(store.close()).await.unwrap();
    }
    let plan = plan_recovery(&survivor).await.unwrap();
    assert_eq!(plan.members.len(), 2, "it can be recovered again");
}

#[tokio::test]
async fn members_of_the_lost_cluster_that_come_back_together_are_turned_away() {
    let dir = tempfile::tempdir().unwrap();
    let network = MemoryNetwork::new();
    for store in three(&network, dir.path()).await {
        in_time(store.close()).await.unwrap();
    }
    recover(&dir.path().join("a"), &RecoverOptions::default()).await.unwrap();
    let store = opened(&network, dir.path(), "a").await;
    in_time(store.ready()).await.unwrap();
    // Two of three: without the survivor they would be the old cluster.
    let back = futures::future::join_all(["b", "c"].map(|name| opened(&network, dir.path(), name))).await;
    for old in &back {
        in_time(old.stopped()).await;
        let refused = in_time(old.put("k0", "from the past")).await.unwrap_err().to_string();
        assert!(refused.contains("recovered or restored without this member"), "{refused}");
        in_time(old.close()).await.unwrap();
    }
    assert_eq!(in_time(store.get("k0")).await.unwrap().unwrap().value, "v40");
    in_time(store.close()).await.unwrap();
}

#[tokio::test]
async fn a_recovery_that_was_killed_is_ended_by_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let network = MemoryNetwork::new();
    let stores = three(&network, dir.path()).await;
    let before = in_time(stores[0].range(RangeRequest::all())).await.unwrap();
    for step in [Step::Marked, Step::Applied, Step::LogRetired, Step::Begun] {
        let left = dir.path().join(format!("{step:?}"));
        copied(&dir.path().join("a"), &left.join("a"));
        let survivor = left.join("a");
        assert!(plan_recovery(&survivor).await.unwrap().entries > 0, "the tables are behind the log");
        KILLED_AFTER.set(Some(step));
        let options = RecoverOptions::default();
        let killed = AssertUnwindSafe(recover(&survivor, &options)).catch_unwind();
        assert!(killed.await.is_err(), "{step:?}: it was not killed");
        KILLED_AFTER.set(None);
        let refused = Store::open(config(&network, &left, "a", &NAMES, InitialState::New)).await;
        assert!(matches!(refused, Err(OpenError::Recovering { .. })), "{step:?}: {refused:?}");
        assert!(plan_recovery(&survivor).await.unwrap().has_begun);
        let recovered = recover(&survivor, &RecoverOptions::default()).await.unwrap();
        assert_eq!(recovered.revision, Revision(51), "{step:?}: each entry is applied once");
        let own = MemoryNetwork::new();
        let store = opened(&own, &left, "a").await;
        in_time(store.ready()).await.unwrap();
        assert_eq!(in_time(store.range(RangeRequest::all())).await.unwrap().kvs, before.kvs);
        assert_eq!(in_time(store.members(true)).await.unwrap().len(), 1);
        let old = RangeRequest { revision: Some(Revision(30)), ..RangeRequest::key("k8") };
        assert_eq!(in_time(store.range(old)).await.unwrap().kvs[0].value, "v28", "history stays");
        in_time(store.close()).await.unwrap();
    }
    for store in stores {
        in_time(store.close()).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_no_survivor_is_refused_and_left_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let network = MemoryNetwork::new();
    let empty = plan_recovery(dir.path()).await.unwrap_err();
    assert!(matches!(empty, RecoverError::Open(OpenError::NotAStore { .. })), "{empty}");
    let store = opened(&network, dir.path(), "a").await;
    let used = recover(&dir.path().join("a"), &RecoverOptions::default()).await.unwrap_err();
    assert!(matches!(used, RecoverError::Open(OpenError::InUse { .. })), "{used}");
    assert!(matches!(
        store.range(RangeRequest { serializable: true, ..RangeRequest::all() }).await,
        Ok(_) | Err(RangeError::NoLeader)
    ));
    in_time(store.close()).await.unwrap();
}
