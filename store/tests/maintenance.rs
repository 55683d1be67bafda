//! Quota, alarms and hashes, as an operator meets them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
use std::time::Duration;

use mainstay_store::{
    Alarm, AlarmKind, Config, DeleteRangeRequest, HashComparison, LeaseError, MemberHash, PutRequest,
    RangeError, Revision, Store, Txn, WriteError,
};

const DEADLINE: Duration = Duration::from_secs(30);

fn config(dir: &tempfile::TempDir) -> Config {
    Config { dir: dir.path().to_path_buf(), disk_reserve_bytes: 0, ..Config::default() }
}

/// Bytes that do not compress.
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state & 0xff) as u8
    };
    (0..50_000).map(|_| next()).collect()
}

#[tokio::test]
async fn the_quota_raises_an_alarm_that_stops_what_adds_until_it_is_disarmed() {
    let dir = tempfile::tempdir().unwrap();
    let limited =
        || Config { quota_backend_bytes: Some(8 << 20), write_buffer_bytes: 1 << 20, ..config(&dir) };
    let store = Store::open(limited()).await.unwrap();
    let mut written = 0;
    let refused = loop {
        match store.put("k", noise(written)).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 1000, "the quota was never reached");
    };
    assert_eq!(refused, WriteError::NoSpaceAlarm);
    let status = store.status().await.unwrap();
    let alarm = Alarm { member_id: status.member_id, kind: AlarmKind::NoSpace };
    assert_eq!((status.alarms.clone(), status.quota_bytes), (vec![alarm], Some(8 << 20)));
    assert!(status.db_size_bytes <= 9 << 20, "{status:?}");

    let put = PutRequest::new("small", "x");
    let txn = Txn::default().then([put.clone()]);
    assert_eq!(store.put_with(put.clone()).await, Err(WriteError::NoSpaceAlarm));
    assert_eq!(store.txn(txn).await, Err(WriteError::NoSpaceAlarm));
    let granted = store.lease_grant(Duration::from_secs(60), None).await;
    assert_eq!(granted, Err(LeaseError::Write(WriteError::NoSpaceAlarm)));
    assert_eq!(store.get("k").await.unwrap().unwrap().value, noise(written - 1), "reads go on");
    store.close().await.unwrap();

    let store = Store::open(limited()).await.unwrap();
    assert_eq!(store.alarms(), [alarm], "a restart forgets no alarm");
    assert_eq!(store.put_with(put.clone()).await, Err(WriteError::NoSpaceAlarm));
    store.delete("k").await.unwrap();
    store.compact(store.revision()).await.unwrap();
    let freed = async {
        while store.status().await.unwrap().db_size_bytes > 2 << 20 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, freed).await.expect("space comes back without defragmentation");
    assert!(store.alarm_disarm(alarm).await.unwrap());
    assert!(!store.alarm_disarm(alarm).await.unwrap(), "it was disarmed already");
    store.put_with(put).await.unwrap();
    store.close().await.unwrap();
}

#[tokio::test]
async fn the_corrupt_alarm_stops_all_writes_and_none_of_the_reads() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(&dir)).await.unwrap();
    store.put("k", "v").await.unwrap();
    let hash = store.hash_kv(None).await.unwrap();
    let mut other = hash;
    other.hash ^= 1;
    let of = |member_id, hash| MemberHash { member_id, hash };
    let same = store.check_corruption(&[of(1, hash), of(2, hash)], 3).await.unwrap();
    assert_eq!((same, store.alarms()), (HashComparison::Equal { members: 2 }, vec![]));
    let found = store.check_corruption(&[of(1, hash), of(2, other), of(3, hash)], 3).await.unwrap();
    assert_eq!(found, HashComparison::Differ { members: vec![2] });
    let alarm = Alarm { member_id: 2, kind: AlarmKind::Corrupt };
    assert_eq!(store.alarms(), [alarm]);
    assert_eq!(store.put("k", "w").await.unwrap_err(), WriteError::CorruptAlarm);
    let delete = store.delete_range(DeleteRangeRequest::key("k")).await;
    assert_eq!(delete.unwrap_err(), WriteError::CorruptAlarm);
    assert_eq!(store.get("k").await.unwrap().unwrap().value, "v");
    assert!(!store.alarm_activate(alarm).await.unwrap(), "it is raised already");
    assert!(store.alarm_disarm(alarm).await.unwrap());
    store.put("k", "w").await.unwrap();
    store.close().await.unwrap();
}

#[tokio::test]
async fn two_stores_with_the_same_writes_have_the_same_hashes_whatever_is_compacted() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut hashes = Vec::new();
    for (round, dir) in dirs.iter().enumerate() {
        let mut store = Store::open(config(dir)).await.unwrap();
        for i in 0..200 {
            store.put(format!("k{}", i % 7), format!("{i}")).await.unwrap();
            if round == 1 && i == 100 {
                store.close().await.unwrap();
                store = Store::open(config(dir)).await.unwrap();
            }
        }
        store.delete("k3").await.unwrap();
        store.compact(Revision(150)).await.unwrap();
        let past = store.hash_kv(Some(Revision(170))).await.unwrap();
        let now = store.hash_kv(None).await.unwrap();
        assert_eq!((past.compact_revision, past.hash_revision), (Revision(150), Revision(170)));
        assert_eq!(now.hash_revision, store.revision());
        hashes.push((past, now, store.hash().await.unwrap()));
        let gone = store.hash_kv(Some(Revision(149))).await.unwrap_err();
        assert_eq!(gone, RangeError::Compacted { wanted: Revision(149), floor: Revision(150) });
        assert!(matches!(store.hash_kv(Some(Revision(9999))).await, Err(RangeError::FutureRevision { .. })));
        store.close().await.unwrap();
    }
    assert_eq!(hashes[0], hashes[1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compaction_goes_on_beside_writes_without_holding_them_up() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(&dir)).await.unwrap();
    for round in 0..40 {
        let puts = (0..500).map(|i| store.put(format!("k{:03}", (round * 7 + i) % 300), "v"));
        for put in futures::future::join_all(puts).await {
            put.unwrap();
        }
    }
    let latencies = async |store: &Store| {
        let mut latencies = Vec::new();
        for i in 0..300 {
            let asked = tokio::time::Instant::now();
            store.put(format!("now{}", i % 10), "v").await.unwrap();
            latencies.push(asked.elapsed());
        }
        latencies.sort_unstable();
        latencies[297]
    };
    let before = latencies(&store).await;
    store.compact(store.revision()).await.unwrap();
    let during = latencies(&store).await;
    // The bench measures the ratio; here a pause would show, also on a machine that does other things.
    assert!(during < before * 4 + Duration::from_millis(100), "p99 was {before:?}, then {during:?}");
    store.close().await.unwrap();
}
