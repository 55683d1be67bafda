//! A snapshot becomes a cluster of several members, which goes on as any other does.
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt as _;
use mainstay_store::{
    ClusterConfig, Config, InitialMember, InitialState, MemoryNetwork, OpenError, RangeRequest,
    RestoreOptions, RestoredPlace, Revision, SnapshotRequest, Store, restore,
};

use crate::members::{in_time, url};

fn initial(members: impl IntoIterator<Item = usize>) -> Vec<InitialMember> {
    let member = |member| InitialMember { name: format!("m{member}"), peer_urls: vec![url(member)] };
    members.into_iter().map(member).collect()
}

fn alone(dir: &Path) -> Config {
    Config { dir: dir.into(), disk_reserve_bytes: 0, sync: false, ..Config::default() }
}

/// A member that is told who `told` are.
fn config(network: &MemoryNetwork, dir: &Path, member: usize, told: Vec<InitialMember>) -> Config {
    let name = format!("m{member}");
    let transport = network.transport(name.clone(), [url(member)]);
    let cluster = ClusterConfig::new(name, told, Arc::new(transport));
    Config { cluster: Some(cluster), ..alone(dir) }
}

/// A snapshot of 50 puts, and what a range over all of it says.
async fn snapshot() -> (Vec<u8>, mainstay_store::RangeResponse) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(alone(dir.path())).await.unwrap();
    for i in 0..50 {
        store.put(format!("k{}", i % 10), format!("v{i}")).await.unwrap();
    }
    let all = store.range(RangeRequest::all()).await.unwrap();
    let pieces: Vec<bytes::Bytes> = store.snapshot(SnapshotRequest::default()).try_collect().await.unwrap();
    store.close().await.unwrap();
    (pieces.concat(), all)
}

#[tokio::test]
async fn a_restored_cluster_is_formed_by_its_founders_and_takes_on_others() {
    let (snapshot, before) = snapshot().await;
    let network = MemoryNetwork::new();
    let dirs: Vec<_> = (0..4).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut stores = Vec::new();
    for (member, dir) in dirs.iter().take(3).enumerate() {
        let place =
            RestoredPlace { name: format!("m{member}"), initial: initial(0..3), token: "restored".into() };
        let options = RestoreOptions { place: Some(place), ..RestoreOptions::default() };
        restore(&snapshot[..], dir.path(), &options).unwrap();
    }
    let refused = Store::open(alone(dirs[0].path())).await.unwrap_err();
    assert!(refused.to_string().contains("of a cluster of 3 members"), "{refused}");
    for (member, dir) in dirs.iter().take(3).enumerate() {
        // Who the others are is in the directory: nobody need say it again.
        let told = initial([member]);
        stores.push(Store::open(config(&network, dir.path(), member, told)).await.unwrap());
    }
    for store in &stores {
        in_time(store.ready()).await.unwrap();
        assert_eq!(in_time(store.range(RangeRequest::all())).await.unwrap(), before);
    }
    assert_eq!(in_time(stores[0].members(true)).await.unwrap().len(), 3);
    in_time(stores[1].put("k0", "after")).await.unwrap();

    // What was restored is in no log: a new member gets it all the same.
    let added = in_time(stores[2].member_add(vec![url(3)], false)).await.unwrap();
    let mut joining = config(&network, dirs[3].path(), 3, initial(0..4));
    joining.cluster.as_mut().unwrap().state = InitialState::Existing;
    let joined = in_time(Store::open(joining)).await.unwrap();
    assert_eq!(joined.member_id(), added.id);
    in_time(joined.ready()).await.unwrap();
    let old = RangeRequest { revision: Some(Revision(12)), ..RangeRequest::key("k0") };
    assert_eq!(in_time(joined.range(old)).await.unwrap().kvs[0].value, "v10");
    assert_eq!(in_time(joined.get("k0")).await.unwrap().unwrap().value, "after");
    stores.push(joined);

    // And one that is opened again is the member that it was.
    drop(stores.remove(1));
    let again = in_time(async {
        loop {
            match Store::open(config(&network, dirs[1].path(), 1, initial([1]))).await {
                Ok(store) => return store,
                Err(OpenError::InUse { .. }) => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(other) => panic!("{other}"),
            }
        }
    })
    .await;
    in_time(again.ready()).await.unwrap();
    assert_eq!(in_time(again.get("k0")).await.unwrap().unwrap().value, "after");
    stores.push(again);
    for store in stores {
        in_time(store.close()).await.unwrap();
    }
}

#[tokio::test]
async fn a_founder_that_was_not_restored_is_sent_what_the_others_have() {
    let (snapshot, before) = snapshot().await;
    let network = MemoryNetwork::new();
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    for (member, dir) in dirs.iter().take(2).enumerate() {
        let place =
            RestoredPlace { name: format!("m{member}"), initial: initial(0..3), token: "restored".into() };
        let options = RestoreOptions { place: Some(place), ..RestoreOptions::default() };
        restore(&snapshot[..], dir.path(), &options).unwrap();
    }
    // The empty one first: it has formed its part of the cluster before it hears of the others.
    let mut stores = Vec::new();
    for member in [2, 0, 1] {
        let mut config = config(&network, dirs[member].path(), member, initial(0..3));
        config.cluster.as_mut().unwrap().token = "restored".into();
        stores.push(Store::open(config).await.unwrap());
    }
    for store in &stores {
        in_time(store.ready()).await.unwrap();
        assert_eq!(in_time(store.range(RangeRequest::all())).await.unwrap(), before);
    }
    for store in stores {
        in_time(store.close()).await.unwrap();
    }
}
