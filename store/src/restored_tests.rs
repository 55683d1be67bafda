//! A restored member whose tables cannot be flushed: no checkpoint comes to the aid of those that join it.
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use futures::TryStreamExt as _;
use parking_lot::Mutex;

use crate::api::{ClusterConfig, Config, InitialMember, InitialState, RangeRequest, Revision};
use crate::core::Core;
use crate::data_dir::DataDir;
use crate::engine::Tables;
use crate::raft::{Change, MemberNode, restored as raft_restored};
use crate::{MemoryNetwork, RestoreOptions, RestoredPlace, SnapshotRequest, Store, restore};

const DEADLINE: Duration = Duration::from_secs(30);
/// More than any pool has.
const THREADS: usize = 16;

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work).await.expect("it takes too long")
}

fn member(name: &str) -> InitialMember {
    InitialMember { name: name.into(), peer_urls: vec![format!("http://{name}:2380")] }
}

fn alone(dir: &Path) -> Config {
    Config { dir: dir.into(), disk_reserve_bytes: 0, sync: false, ..Config::default() }
}

fn config(network: &MemoryNetwork, dir: &Path, name: &str, told: &[&str], state: InitialState) -> Config {
    let transport = network.transport(name.to_owned(), member(name).peer_urls);
    let told = told.iter().map(|name| member(name));
    let cluster = ClusterConfig { state, ..ClusterConfig::new(name, told, Arc::new(transport)) };
    Config { cluster: Some(cluster), ..alone(dir) }
}

/// Restores 20 puts of one key.
async fn restored(dir: &Path, place: Option<RestoredPlace>) {
    let from = tempfile::tempdir().unwrap();
    let store = Store::open(alone(from.path())).await.unwrap();
    for i in 0..20 {
        store.put("k", format!("v{i}")).await.unwrap();
    }
    let pieces: Vec<bytes::Bytes> = store.snapshot(SnapshotRequest::default()).try_collect().await.unwrap();
    store.close().await.unwrap();
    let options = RestoreOptions { place, ..RestoreOptions::default() };
    restore(&pieces.concat()[..], dir, &options).unwrap();
}

/// Asks for what was there at an earlier revision.
fn old() -> RangeRequest {
    RangeRequest { revision: Some(Revision(12)), ..RangeRequest::key("k") }
}

#[tokio::test]
async fn a_member_that_joins_before_any_checkpoint_gets_what_was_restored() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let place = RestoredPlace { name: "m0".into(), initial: vec![member("m0")], token: "restored".into() };
    restored(first.path(), Some(place)).await;
    let network = MemoryNetwork::new();
    let founder =
        in_time(Core::open(config(&network, first.path(), "m0", &["m0"], InitialState::New))).await.unwrap();
    // Before any other task runs: from here on the threads that flush are busy.
    let (release, released) = mpsc::channel::<()>();
    let released = Arc::new(Mutex::new(released));
    let mut busy: Vec<_> = (0..THREADS)
        .map(|_| {
            let released = Arc::clone(&released);
            // They all end when the sender is dropped.
            Box::pin(founder.pool.run(move || released.lock().recv()))
        })
        .collect();
    for job in &mut busy {
        assert!(futures::poll!(job).is_pending());
    }
    let add = Change::Add { peer_urls: member("m1").peer_urls, learner: false };
    in_time(founder.change_members(add)).await.unwrap();
    let joining = config(&network, second.path(), "m1", &["m0", "m1"], InitialState::Existing);
    let joined = in_time(Store::open(joining)).await.unwrap();
    in_time(joined.ready()).await.unwrap();
    assert_eq!(in_time(joined.range(old())).await.unwrap().kvs[0].value, "v10");
    assert_eq!(in_time(joined.get("k")).await.unwrap().unwrap().value, "v19");
    drop(release);
    in_time(futures::future::join_all(busy)).await;
    in_time(joined.close()).await.unwrap();
    in_time(founder.close()).await.unwrap();
}

#[tokio::test]
async fn a_crash_before_the_log_knows_where_it_begins_is_made_good_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    restored(dir.path(), None).await;
    {
        let data = DataDir::open(dir.path(), None, None).unwrap();
        let (tables, mark) = Tables::open(&data.tables(), &alone(dir.path())).unwrap();
        let members = vec![(data.member_id, MemberNode::default())];
        let begun = raft_restored::begin(&tables, mark, members).unwrap();
        assert_eq!((mark.index, begun.index), (None, Some(1)));
        tables.close();
    }
    for value in ["first", "second"] {
        let store = Store::open(alone(dir.path())).await.unwrap();
        assert_eq!(store.range(old()).await.unwrap().kvs[0].value, "v10");
        store.put("k", value).await.unwrap();
        assert_eq!(store.get("k").await.unwrap().unwrap().value, value);
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn what_was_restored_for_another_place_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    restored(dir.path(), None).await;
    let network = MemoryNetwork::new();
    let opened = Store::open(config(&network, dir.path(), "m0", &["m0"], InitialState::New)).await;
    let refused = opened.unwrap_err().to_string();
    assert!(refused.contains("which is none of the initial members"), "{refused}");
}
