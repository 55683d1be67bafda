//! The store as an embedder meets it: every call once, with its guarantees.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use mainstay_store::{
    CompactError, Compare, Config, DeleteRangeRequest, EventKind, LeaseError, LeaseId, OpResponse, OpenError,
    PutRequest, RangeError, RangeRequest, Revision, Store, Txn, WatchError, WatchRequest, WriteError,
};

fn config(dir: &tempfile::TempDir) -> Config {
    Config { dir: dir.path().to_path_buf(), disk_reserve_bytes: 0, ..Config::default() }
}

async fn open() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(&dir)).await.unwrap();
    (dir, store)
}

#[tokio::test]
async fn revisions_begin_at_one_and_grow_by_one() {
    let (_dir, store) = open().await;
    assert_eq!(store.revision(), Revision(1));
    assert_eq!(store.put("a", "1").await.unwrap().revision, Revision(2));
    assert_eq!(store.put("b", "2").await.unwrap().revision, Revision(3));
    let kv = store.get("a").await.unwrap().unwrap();
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (Revision(2), Revision(2), 1));
    store.put("a", "3").await.unwrap();
    let kv = store.get("a").await.unwrap().unwrap();
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (Revision(2), Revision(4), 2));
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_restart_keeps_everything() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..5_i64 {
        let store = Store::open(config(&dir)).await.unwrap();
        assert_eq!(store.revision(), Revision(1 + round * 10));
        for i in 0..10 {
            store.put(format!("k{i}"), format!("{round}")).await.unwrap();
        }
        let all = store.range(RangeRequest::all()).await.unwrap();
        assert_eq!((all.count, all.revision), (10, Revision(11 + round * 10)));
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_dropped_store_frees_its_directory_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(&dir)).await.unwrap();
    store.put("a", "1").await.unwrap();
    drop(store);
    let store = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            match Store::open(config(&dir)).await {
                Ok(store) => return store,
                Err(OpenError::InUse { .. }) => tokio::task::yield_now().await,
                Err(other) => panic!("{other}"),
            }
        }
    })
    .await
    .unwrap();
    assert_eq!(store.get("a").await.unwrap().unwrap().value, "1");
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_second_open_is_refused_in_one_line() {
    let (dir, store) = open().await;
    let error = Store::open(config(&dir)).await.unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    store.close().await.unwrap();
    Store::open(config(&dir)).await.unwrap().close().await.unwrap();
}

#[tokio::test]
async fn a_closed_store_answers_closed() {
    let (_dir, store) = open().await;
    let mut watch = store.watch(WatchRequest::prefix("")).await;
    let other = store.clone();
    store.close().await.unwrap();
    assert_eq!(other.put("a", "1").await.unwrap_err(), WriteError::Closed);
    assert_eq!(other.get("a").await.unwrap_err(), RangeError::Closed);
    assert_eq!(watch.next().await.unwrap_err(), WatchError::Closed);
    other.close().await.unwrap();
    other.stopped().await;
}

#[tokio::test]
async fn ranges_page_count_and_read_the_past() {
    let (_dir, store) = open().await;
    for i in 0..30 {
        store.put(format!("k{i:02}"), format!("v{i}")).await.unwrap();
    }
    store.delete("k05").await.unwrap();
    let page = store.range(RangeRequest { limit: 10, ..RangeRequest::prefix("k") }).await.unwrap();
    assert_eq!((page.kvs.len(), page.more, page.count, page.revision), (10, true, 29, Revision(32)));
    let past =
        store.range(RangeRequest { revision: Some(Revision(7)), ..RangeRequest::prefix("k") }).await.unwrap();
    assert_eq!((past.kvs.len(), past.revision), (6, Revision(32)));
    let counted = store.range(RangeRequest { count_only: true, ..RangeRequest::prefix("k1") }).await.unwrap();
    assert_eq!((counted.kvs.len(), counted.count), (0, 10));
    let keys =
        store.range(RangeRequest { keys_only: true, ..RangeRequest::range("k01", "k03") }).await.unwrap();
    assert_eq!(
        keys.kvs.iter().map(|kv| (&kv.key[..], kv.value.len())).collect::<Vec<_>>(),
        [(&b"k01"[..], 0), (b"k02", 0)]
    );
    let none = store.range(RangeRequest::range("z", "a")).await.unwrap();
    assert_eq!((none.count, none.more), (0, false));
    let ahead = store.range(RangeRequest { revision: Some(Revision(99)), ..RangeRequest::key("k") }).await;
    assert_eq!(
        ahead.unwrap_err(),
        RangeError::FutureRevision { wanted: Revision(99), current: Revision(32) }
    );
    assert_eq!(store.range(RangeRequest::key("")).await.unwrap_err(), RangeError::EmptyKey);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_stream_reads_one_revision_whatever_is_written_meanwhile() {
    let (_dir, store) = open().await;
    for chunk in 0..25 {
        let ops: Vec<PutRequest> =
            (0..100).map(|i| PutRequest::new(format!("k{:04}", chunk * 100 + i), "v")).collect();
        store.txn(Txn::default().then(ops)).await.unwrap();
    }
    let mut pages = std::pin::pin!(store.range_stream(RangeRequest::prefix("k")));
    let mut keys = 0;
    let mut more = true;
    while let Some(page) = pages.next().await {
        let page = page.unwrap();
        assert!(more);
        assert_eq!(page.revision, Revision(26));
        keys += page.kvs.len();
        more = page.more;
        store.put("k9999", "later").await.unwrap();
        store.delete("k2400").await.unwrap();
    }
    assert_eq!((keys, more), (2500, false));
    let limited: Vec<_> =
        store.range_stream(RangeRequest { limit: 1500, ..RangeRequest::prefix("k") }).collect().await;
    assert_eq!(limited.iter().map(|page| page.as_ref().unwrap().kvs.len()).collect::<Vec<_>>(), [1000, 500]);
    store.close().await.unwrap();
}

#[tokio::test]
async fn transactions_compare_and_write_in_one_revision() {
    let (_dir, store) = open().await;
    let create = || {
        Txn::when([Compare::absent("a")])
            .then([PutRequest::new("a", "1"), PutRequest::new("b", "1")])
            .otherwise([RangeRequest::key("a")])
    };
    let first = store.txn(create()).await.unwrap();
    assert!(first.succeeded);
    assert_eq!(first.revision, Revision(2));
    let second = store.txn(create()).await.unwrap();
    assert!(!second.succeeded);
    assert_eq!(second.revision, Revision(2));
    let [OpResponse::Range(range)] = &second.responses[..] else { panic!("{second:?}") };
    assert_eq!(range.kvs[0].mod_revision, Revision(2));
    let stale = Txn::when([Compare::unchanged("a", Revision(1))]).then([DeleteRangeRequest::key("a")]);
    assert!(!store.txn(stale).await.unwrap().succeeded);
    let twice = Txn::default().then([PutRequest::new("a", "1"), PutRequest::new("a", "2")]);
    assert_eq!(store.txn(twice).await.unwrap_err(), WriteError::DuplicateKey { key: "a".into() });
    let delete = Txn::when([Compare::value("a", "1")])
        .then([DeleteRangeRequest { prev_kv: true, ..DeleteRangeRequest::prefix("") }]);
    let deleted = store.txn(delete).await.unwrap();
    let [OpResponse::Delete(answer)] = &deleted.responses[..] else { panic!("{deleted:?}") };
    assert_eq!((answer.deleted, answer.prev.len(), answer.revision), (2, 2, Revision(3)));
    let read = store.txn(Txn::default().then([RangeRequest::all()])).await.unwrap();
    assert_eq!((read.succeeded, read.revision), (true, Revision(3)));
    store.close().await.unwrap();
}

/// Enough keys are looked for in vain that the store learns which keys there are, while more are created.
#[tokio::test]
async fn a_creation_finds_what_is_there_however_many_keys_were_new() {
    const KEYS: usize = 4000;
    let dir = tempfile::tempdir().unwrap();
    let config = || Config { sync: false, head_cache_bytes: 0, ..config(&dir) };
    let key = |number: usize| format!("/registry/maps/{number}");
    let create = |store: &Store, number: usize| {
        let store = store.clone();
        async move {
            let txn = Txn::when([Compare::absent(key(number))]).then([PutRequest::new(key(number), "v")]);
            store.txn(txn).await.unwrap().succeeded
        }
    };
    for start in 0..3_usize {
        let store = Store::open(config()).await.unwrap();
        let ours = start * KEYS..(start + 1) * KEYS;
        for chunk in ours.clone().collect::<Vec<_>>().chunks(100) {
            let created = futures::future::join_all(chunk.iter().map(|number| create(&store, *number))).await;
            assert!(created.into_iter().all(|created| created), "{chunk:?} are new");
        }
        // Those of this start and of the ones before.
        let known = (0..(start + 1) * KEYS).step_by(7);
        let again = futures::future::join_all(known.clone().map(|number| create(&store, number))).await;
        assert!(again.into_iter().all(|created| !created), "all of them are there");
        for number in known.step_by(50) {
            let version = store.get(key(number)).await.unwrap().unwrap().version;
            store.put(key(number), "w").await.unwrap();
            assert_eq!(store.get(key(number)).await.unwrap().unwrap().version, version + 1, "{number}");
            store.delete(key(number)).await.unwrap();
            assert!(create(&store, number).await, "{number} was deleted");
            assert!(!create(&store, number).await, "{number} is there again");
        }
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_delete_of_nothing_makes_no_revision() {
    let (_dir, store) = open().await;
    let answer = store.delete("nothing").await.unwrap();
    assert_eq!((answer.revision, answer.deleted), (Revision(1), 0));
    store.close().await.unwrap();
}

#[tokio::test]
async fn compaction_forgets_the_past_and_keeps_the_present() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(&dir)).await.unwrap();
    for i in 0..10 {
        store.put("a", format!("{i}")).await.unwrap();
    }
    store.put("gone", "x").await.unwrap();
    store.delete("gone").await.unwrap();
    store.put("b", "x").await.unwrap();
    store.compact(Revision(12)).await.unwrap();
    assert_eq!(
        store.compact(Revision(12)).await.unwrap_err(),
        CompactError::Compacted { wanted: Revision(12), floor: Revision(12) }
    );
    assert_eq!(
        store.compact(Revision(99)).await.unwrap_err(),
        CompactError::FutureRevision { wanted: Revision(99), current: Revision(14) }
    );
    let past = |revision| RangeRequest { revision: Some(Revision(revision)), ..RangeRequest::all() };
    assert_eq!(
        store.range(past(11)).await.unwrap_err(),
        RangeError::Compacted { wanted: Revision(11), floor: Revision(12) }
    );
    assert_eq!(store.range(past(12)).await.unwrap().count, 2);
    assert_eq!(store.get("a").await.unwrap().unwrap().value, "9");
    let mut watch = store.watch(WatchRequest::prefix("").starting_at(Revision(11))).await;
    assert_eq!(watch.next().await.unwrap_err(), WatchError::Compacted { floor: Revision(12) });
    store.close().await.unwrap();
    let store = Store::open(config(&dir)).await.unwrap();
    assert_eq!(store.status().await.unwrap().compacted, Revision(12));
    assert_eq!(
        store.range(past(11)).await.unwrap_err(),
        RangeError::Compacted { wanted: Revision(11), floor: Revision(12) }
    );
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_revoked_lease_takes_its_keys_in_one_revision() {
    let (_dir, store) = open().await;
    let lease = store.lease_grant(Duration::from_secs(60), None).await.unwrap();
    for key in ["x", "y", "z"] {
        store.put_with(PutRequest::new(key, "1").with_lease(lease.id)).await.unwrap();
    }
    store.put("z", "detached").await.unwrap();
    let left = store.lease_time_to_live(lease.id, true).await.unwrap();
    assert_eq!(
        (left.granted, left.keys),
        (Duration::from_secs(60), vec![Bytes::from("x"), Bytes::from("y")])
    );
    let mut watch = store.watch(WatchRequest { prev_kv: true, ..WatchRequest::prefix("") }).await;
    assert_eq!(store.lease_revoke(lease.id).await.unwrap(), Revision(6));
    let batch = watch.next().await.unwrap();
    assert_eq!((batch.revision, batch.events.len()), (Revision(6), 2));
    assert!(batch.events.iter().all(|event| event.kind == EventKind::Delete && event.prev.is_some()));
    assert!(store.get("z").await.unwrap().is_some());
    assert_eq!(store.lease_revoke(lease.id).await.unwrap_err(), LeaseError::NotFound(lease.id));
    let orphan = PutRequest::new("x", "1").with_lease(lease.id);
    assert_eq!(store.put_with(orphan).await.unwrap_err(), WriteError::LeaseNotFound(lease.id));
    store.close().await.unwrap();
}

#[tokio::test]
async fn an_expired_lease_deletes_its_keys_and_a_kept_one_does_not() {
    let (_dir, store) = open().await;
    let dies = store.lease_grant(Duration::from_millis(10), Some(LeaseId(7))).await.unwrap();
    assert_eq!((dies.id, dies.ttl), (LeaseId(7), Duration::from_secs(1)));
    assert_eq!(
        store.lease_grant(Duration::from_secs(1), Some(LeaseId(7))).await.unwrap_err(),
        LeaseError::Exists(LeaseId(7))
    );
    let lives = store.lease_grant(Duration::from_secs(30), None).await.unwrap();
    store.put_with(PutRequest::new("dies", "1").with_lease(dies.id)).await.unwrap();
    store.put_with(PutRequest::new("lives", "1").with_lease(lives.id)).await.unwrap();
    let mut watch = store.watch(WatchRequest::prefix("")).await;
    let batch = tokio::time::timeout(Duration::from_secs(10), watch.next()).await.unwrap().unwrap();
    assert_eq!(batch.events[0].kv.key, "dies");
    assert_eq!(store.leases().await.unwrap().len(), 1);
    assert_eq!(store.lease_keep_alive(dies.id).await.unwrap_err(), LeaseError::NotFound(dies.id));
    assert_eq!(store.lease_keep_alive(lives.id).await.unwrap(), Duration::from_secs(30));
    store.close().await.unwrap();
}

#[tokio::test]
async fn leases_survive_a_restart_and_still_end() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(&dir)).await.unwrap();
    let lease = store.lease_grant(Duration::from_secs(1), None).await.unwrap();
    store.put_with(PutRequest::new("k", "1").with_lease(lease.id)).await.unwrap();
    store.close().await.unwrap();
    let store = Store::open(config(&dir)).await.unwrap();
    let mut watch = store.watch(WatchRequest::key("k").starting_at(Revision(3))).await;
    let batch = tokio::time::timeout(Duration::from_secs(10), watch.next()).await.unwrap().unwrap();
    assert_eq!(batch.events[0].kind, EventKind::Delete);
    store.close().await.unwrap();
}

#[tokio::test]
async fn requests_out_of_bounds_are_refused() {
    let (_dir, store) = open().await;
    let big = vec![0_u8; 2 << 20];
    assert!(matches!(store.put("k", big).await.unwrap_err(), WriteError::TooLarge { max: 1_572_864, .. }));
    let fits = vec![7_u8; 1_572_000];
    store.put("k", fits.clone()).await.unwrap();
    assert_eq!(store.get("k").await.unwrap().unwrap().value, fits);
    let ops: Vec<PutRequest> = (0..129).map(|i| PutRequest::new(format!("{i}"), "")).collect();
    assert_eq!(
        store.txn(Txn::default().then(ops)).await.unwrap_err(),
        WriteError::TooManyOps { count: 129, max: 128 }
    );
    let forever = store.lease_grant(Duration::from_secs(u64::MAX), None).await.unwrap_err();
    assert!(matches!(forever, LeaseError::TtlTooLarge { .. }));
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_full_disk_refuses_writes_while_reads_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(&dir)).await.unwrap();
    store.put("a", "1").await.unwrap();
    store.close().await.unwrap();
    // The same as a full disk: more is to be kept free than there is.
    let store = Store::open(Config { disk_reserve_bytes: u64::MAX, ..config(&dir) }).await.unwrap();
    let error = store.put("a", "2").await.unwrap_err();
    assert!(matches!(error, WriteError::NoSpace { .. }), "{error}");
    assert_eq!(store.get("a").await.unwrap().unwrap().value, "1");
    assert!(store.status().await.unwrap().no_space);
    store.close().await.unwrap();
}

#[tokio::test]
async fn the_log_is_used_again_once_the_tables_are_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let small = || {
        let mut config = config(&dir);
        config.limits.request_bytes_max = 64 << 10;
        config.log_segment_bytes = 256 << 10;
        config.write_buffer_bytes = 1 << 20;
        config
    };
    let store = Store::open(small()).await.unwrap();
    let value = Bytes::from(vec![b'v'; 10_000]);
    for round in 0..200 {
        let puts: Vec<_> = (0..10).map(|i| store.put(format!("k{i}"), value.clone())).collect();
        for put in futures::future::join_all(puts).await {
            put.unwrap();
        }
        if round % 50 == 49 {
            store.compact(store.revision()).await.unwrap();
        }
    }
    // 20 MB went through the log. What is not on disk elsewhere is about 1 MiB, twice that while a flush is under way.
    let status = store.status().await.unwrap();
    assert!(status.log_size_bytes <= 6 << 20, "{status:?}");
    store.close().await.unwrap();
    let store = Store::open(small()).await.unwrap();
    assert_eq!(store.revision(), Revision(2001));
    assert_eq!(store.range(RangeRequest::prefix("k")).await.unwrap().count, 10);
    store.close().await.unwrap();
}
