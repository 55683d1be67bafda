//! Snapshots as an embedder meets them: taken from a store at work, restored, cut to a revision, refused when damaged.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use mainstay_store::{
    Access, AuthOptions, Caller, Config, KeyValue, LeaseId, OpenError, Permission, PutRequest, RangeError,
    RangeRequest, RestoreError, RestoreOptions, Restored, Revision, SnapshotError, SnapshotFormat,
    SnapshotRequest, Store, WatchRequest, restore, snapshot_status,
};

fn config(dir: &Path) -> Config {
    let auth = AuthOptions { bcrypt_cost: 4, ..AuthOptions::default() };
    Config { dir: dir.to_path_buf(), disk_reserve_bytes: 0, auth, ..Config::default() }
}

async fn taken(store: &Store, request: SnapshotRequest) -> Vec<u8> {
    let pieces: Vec<Bytes> = store.snapshot(request).try_collect().await.unwrap();
    pieces.concat()
}

async fn all(store: &Store, revision: Option<Revision>) -> Vec<KeyValue> {
    store.range(RangeRequest { revision, ..RangeRequest::all() }).await.unwrap().kvs
}

/// Puts, overwrites, deletes, leases and users; compacted at 40.
async fn lived_in(dir: &Path) -> Store {
    let store = Store::open(config(dir)).await.unwrap();
    store.lease_grant(Duration::from_secs(600), Some(LeaseId(7))).await.unwrap();
    for number in 0..60 {
        store.put(format!("app/{}", number % 20), format!("v{number}")).await.unwrap();
        store.put_with(PutRequest::new("leased", "x").with_lease(LeaseId(7))).await.unwrap();
        store.put(format!("other\0{number}"), vec![7; 300]).await.unwrap();
    }
    store.delete("app/3").await.unwrap();
    store.compact(Revision(40)).await.unwrap();
    let auth = store.auth();
    auth.user_add("alice", Some("pw")).await.unwrap();
    auth.role_add("reader").await.unwrap();
    let permission = Permission { access: Access::Read, key: "app/".into(), range_end: Some("app0".into()) };
    auth.role_grant("reader", permission).await.unwrap();
    store
}

fn restored(snapshot: &[u8], dir: &Path, options: &RestoreOptions) -> Restored {
    restore(snapshot, dir, options).unwrap()
}

#[tokio::test]
async fn a_restored_store_is_the_one_that_was_taken() {
    let dir = tempfile::tempdir().unwrap();
    let store = lived_in(&dir.path().join("old")).await;
    let snapshot = taken(&store, SnapshotRequest::default()).await;
    let (now, then) = (all(&store, None).await, all(&store, Some(Revision(100))).await);
    let revision = store.revision();
    store.put("later", "1").await.unwrap();
    let cluster = store.status().await.unwrap().cluster_id;
    store.close().await.unwrap();

    let new = dir.path().join("new");
    let told = restored(&snapshot, &new, &RestoreOptions::default());
    assert_eq!((told.revision, told.floor, told.keys), (revision, Revision(40), now.len() as u64));
    assert_ne!(told.cluster_id, cluster, "a restored store is another cluster");
    for _restart in 0..2 {
        let store = Store::open(config(&new)).await.unwrap();
        assert_eq!(store.status().await.unwrap().cluster_id, told.cluster_id);
        assert_eq!(all(&store, None).await, now);
        assert_eq!(all(&store, Some(Revision(100))).await, then);
        assert!(matches!(
            store.range(RangeRequest { revision: Some(Revision(39)), ..RangeRequest::all() }).await,
            Err(RangeError::Compacted { .. })
        ));
        let lease = store.lease_time_to_live(LeaseId(7), true).await.unwrap();
        assert_eq!(lease.keys, ["leased"]);
        assert_eq!(store.auth().users().await.unwrap(), ["alice"]);
        assert_eq!(store.auth().role_permissions("reader").await.unwrap().len(), 1);
        store.close().await.unwrap();
    }
    let store = Store::open(config(&new)).await.unwrap();
    assert_eq!(store.put("next", "1").await.unwrap().revision, revision.next());
    let mut watch = store.watch(WatchRequest::prefix("").starting_at(Revision(100))).await;
    assert_eq!(watch.next().await.unwrap().revision, Revision(100));
    store.lease_revoke(LeaseId(7)).await.unwrap();
    assert!(store.get("leased").await.unwrap().is_none());
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_restore_to_a_revision_is_the_store_of_that_revision() {
    let dir = tempfile::tempdir().unwrap();
    let store = lived_in(&dir.path().join("old")).await;
    let snapshot = taken(&store, SnapshotRequest::default()).await;
    let newest = store.revision();
    for wanted in [40, 41, 99, newest.0] {
        let then = all(&store, Some(Revision(wanted))).await;
        let new = dir.path().join(format!("at-{wanted}"));
        let options = RestoreOptions { revision: Some(Revision(wanted)), ..RestoreOptions::default() };
        let told = restored(&snapshot, &new, &options);
        assert_eq!((told.revision, told.keys), (Revision(wanted), then.len() as u64));
        let copy = Store::open(config(&new)).await.unwrap();
        assert_eq!((copy.revision(), all(&copy, None).await), (Revision(wanted), then));
        copy.put("app/1", "again").await.unwrap();
        assert_eq!(copy.revision(), Revision(wanted + 1));
        copy.close().await.unwrap();
    }
    for wanted in [39, newest.0 + 1] {
        let options = RestoreOptions { revision: Some(Revision(wanted)), ..RestoreOptions::default() };
        let new = dir.path().join("refused");
        let error = restore(&snapshot[..], &new, &options).unwrap_err();
        assert!(matches!(error, RestoreError::Revision { .. }), "{error}");
        restored(&snapshot, &new, &RestoreOptions::default()); // a refused restore leaves the directory free
        std::fs::remove_dir_all(&new).unwrap();
    }
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_bumped_restore_tells_watchers_to_read_anew() {
    let dir = tempfile::tempdir().unwrap();
    let store = lived_in(&dir.path().join("old")).await;
    let snapshot = taken(&store, SnapshotRequest::default()).await;
    let (revision, now) = (store.revision(), all(&store, None).await);
    store.close().await.unwrap();
    let new = dir.path().join("new");
    let options = RestoreOptions { bump_revision: 1000, mark_compacted: true, ..RestoreOptions::default() };
    let bumped = Revision(revision.0 + 1000);
    assert_eq!(restored(&snapshot, &new, &options).revision, bumped);
    let store = Store::open(config(&new)).await.unwrap();
    assert_eq!((store.revision(), all(&store, None).await), (bumped, now));
    let mut watch = store.watch(WatchRequest::prefix("").starting_at(Revision(revision.0 + 1))).await;
    assert!(watch.next().await.is_err(), "what was watched is compacted");
    assert_eq!(store.put("a", "1").await.unwrap().revision, bumped.next());
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_snapshot_of_a_prefix_holds_its_keys_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = lived_in(&dir.path().join("old")).await;
    let snapshot = taken(&store, SnapshotRequest { prefix: Some("app/".into()) }).await;
    let app = store.range(RangeRequest::prefix("app/")).await.unwrap().kvs;
    let revision = store.revision();
    store.close().await.unwrap();
    let new = dir.path().join("new");
    restored(&snapshot, &new, &RestoreOptions::default());
    let store = Store::open(config(&new)).await.unwrap();
    assert_eq!((store.revision(), all(&store, None).await), (revision, app));
    assert!(store.auth().users().await.unwrap().is_empty());
    assert!(store.lease_time_to_live(LeaseId(7), true).await.unwrap().keys.is_empty());
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_snapshot_is_one_moment_while_writes_and_compaction_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(&dir.path().join("old"))).await.unwrap();
    for number in 0..2000 {
        store.put(format!("k{}", number % 100), vec![7; 1000]).await.unwrap();
    }
    let mut pieces = Box::pin(store.snapshot(SnapshotRequest::default()));
    let mut snapshot = pieces.next().await.unwrap().unwrap().to_vec();
    let (revision, now) = (store.revision(), all(&store, None).await);
    for number in 0..500 {
        store.put(format!("k{}", number % 100), "changed").await.unwrap();
    }
    store.compact(store.revision()).await.unwrap();
    while let Some(piece) = pieces.next().await {
        snapshot.extend_from_slice(&piece.unwrap());
    }
    store.close().await.unwrap();
    let new = dir.path().join("new");
    assert_eq!(restored(&snapshot, &new, &RestoreOptions::default()).revision, revision);
    let store = Store::open(config(&new)).await.unwrap();
    assert_eq!(all(&store, None).await, now);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_snapshot_that_nobody_reads_does_not_keep_a_store_open() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(&dir.path().join("old"))).await.unwrap();
    for number in 0..40 {
        store.put(format!("k{number}"), vec![1; 100_000]).await.unwrap();
    }
    let mut pieces = Box::pin(store.snapshot(SnapshotRequest::default()));
    pieces.next().await.unwrap().unwrap();
    tokio::time::timeout(Duration::from_secs(20), store.close()).await.unwrap().unwrap();
    let rest: Vec<_> = pieces.collect().await;
    assert_ne!(rest.len(), 0, "what was read ahead comes, but not the end");
}

#[tokio::test]
async fn only_administrators_take_snapshots() {
    let dir = tempfile::tempdir().unwrap();
    let store = lived_in(&dir.path().join("old")).await;
    store.auth().user_add("root", None).await.unwrap();
    store.auth().user_grant_role("root", "root").await.unwrap();
    store.auth().enable().await.unwrap();
    let nobody = store.acting_as(Caller::Anonymous);
    let refused: Vec<_> = nobody.snapshot(SnapshotRequest::default()).collect().await;
    assert!(matches!(&refused[..], [Err(SnapshotError::Auth(_))]), "{refused:?}");
    let root = store.acting_as(store.auth().identified("root"));
    assert!(!taken(&root, SnapshotRequest::default()).await.is_empty());
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_status_tells_what_a_file_holds_and_damage_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = lived_in(&dir.path().join("old")).await;
    let mut snapshot = taken(&store, SnapshotRequest::default()).await;
    let revision = store.revision();
    store.close().await.unwrap();
    let file = |bytes: &[u8]| {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        file
    };
    let status = snapshot_status(&mut file(&snapshot)).unwrap();
    assert_eq!((status.format, status.revision), (SnapshotFormat::Mainstay, revision));
    assert_eq!(status.size_bytes, snapshot.len() as u64);
    assert_eq!(snapshot_status(&mut file(&snapshot)).unwrap(), status);
    let new = dir.path().join("new");
    let middle = snapshot.len() / 2;
    snapshot[middle] ^= 1;
    assert!(matches!(snapshot_status(&mut file(&snapshot)), Err(RestoreError::Snapshot { .. })));
    let error = restore(&snapshot[..], &new, &RestoreOptions::default()).unwrap_err();
    assert!(matches!(error, RestoreError::Snapshot { .. }), "{error}");
    assert!(error.to_string().contains("offset"), "{error}");
    std::fs::create_dir_all(&new).unwrap();
    std::fs::write(new.join("thesis.tex"), "").unwrap();
    let error = restore(&snapshot[..], &new, &RestoreOptions::default()).unwrap_err();
    assert!(matches!(error, RestoreError::Dir(OpenError::NotAStore { .. })), "{error}");
}
