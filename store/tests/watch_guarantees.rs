//! What a watch promises: ordered, unique, atomic, without gap, resumable, whatever the pace of writer and reader.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use mainstay_store::{
    Compare, Config, DeleteRangeRequest, Event, EventKind, KeyValue, Op, PutRequest, RangeRequest, Revision,
    Store, Txn, Watch, WatchBatch, WatchError, WatchRequest,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const DEADLINE: Duration = Duration::from_secs(60);

async fn open(ring: usize) -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        dir: dir.path().to_path_buf(),
        disk_reserve_bytes: 0,
        watch_ring_revisions: ring,
        watch_progress_interval: Duration::from_millis(20),
        sync: false,
        ..Config::default()
    };
    let store = Store::open(config).await.unwrap();
    (dir, store)
}

async fn next(watch: &mut Watch) -> WatchBatch {
    tokio::time::timeout(DEADLINE, watch.next()).await.expect("an event is due").unwrap()
}

/// Random writes over a few keys: puts, deletes of ranges, transactions.
async fn write(store: &Store, seed: u64, count: usize) {
    let mut rng = StdRng::seed_from_u64(seed);
    let key =
        |rng: &mut StdRng| format!("{}{}", ["a", "b", "c"][rng.random_range(0..3)], rng.random_range(0..5));
    for i in 0..count {
        match rng.random_range(0..6) {
            0 => drop(store.delete(key(&mut rng)).await.unwrap()),
            1 => drop(
                store
                    .delete_range(DeleteRangeRequest::prefix(format!("b{}", rng.random_range(0..5))))
                    .await
                    .unwrap(),
            ),
            2 => {
                let ops: Vec<Op> =
                    ["a0", "b0", "c0"].map(|key| PutRequest::new(key, format!("{i}")).into()).into();
                drop(store.txn(Txn::when([Compare::absent("nobody")]).then(ops)).await.unwrap());
            }
            _ => drop(store.put(key(&mut rng), format!("{seed}-{i}")).await.unwrap()),
        }
    }
}

/// Reads a watch until nothing up to `last` is missing, checking the order.
async fn collect(watch: &mut Watch, last: Revision) -> Vec<WatchBatch> {
    let mut batches: Vec<WatchBatch> = Vec::new();
    while watch.position() <= last {
        let batch = next(watch).await;
        if batch.events.is_empty() {
            continue; // progress moves the position
        }
        assert!(batches.last().is_none_or(|before| before.revision < batch.revision), "ordered and unique");
        assert!(batch.events.iter().all(|event| event.kv.mod_revision == batch.revision), "of one revision");
        batches.push(batch);
    }
    batches
}

fn watch_all(start: i64) -> WatchRequest {
    WatchRequest { prev_kv: true, progress: true, ..WatchRequest::prefix("").starting_at(Revision(start)) }
}

/// Plays events over a state, checking them against it.
fn play(state: &mut BTreeMap<Bytes, KeyValue>, event: &Event) {
    assert_eq!(event.prev.as_ref(), state.get(&event.kv.key), "the version before {:?}", event.kv);
    match event.kind {
        EventKind::Put => drop(state.insert(event.kv.key.clone(), event.kv.clone())),
        EventKind::Delete => drop(state.remove(&event.kv.key).unwrap()),
    }
}

async fn events_rebuild_every_revision(ring: usize) {
    let (_dir, store) = open(ring).await;
    let mut live = store.watch(watch_all(0)).await;
    let writers: Vec<_> = (0..4)
        .map(|seed| {
            let store = store.clone();
            async move { write(&store, seed, 200).await }
        })
        .collect();
    let reader = async {
        let mut seen = 0;
        // A reader that lags behind, now and then.
        for _ in 0..50 {
            let batch = next(&mut live).await;
            seen += usize::from(!batch.events.is_empty());
            tokio::task::yield_now().await;
        }
        seen
    };
    let (_, seen) = tokio::join!(futures::future::join_all(writers), reader);
    let last = store.revision();
    let rest = collect(&mut live, last).await;
    let mut again = store.watch(watch_all(2)).await;
    let all = collect(&mut again, last).await;
    assert_eq!(
        all.iter().map(|batch| batch.revision.0).collect::<Vec<_>>(),
        (2..=last.0).collect::<Vec<_>>(),
        "every revision has its events"
    );
    assert_eq!(all[seen..], rest[..], "live and from history, the same");
    let mut state = BTreeMap::new();
    for batch in &all {
        batch.events.iter().for_each(|event| play(&mut state, event));
        if batch.revision.0 % 37 == 0 || batch.revision == last {
            let request = RangeRequest { revision: Some(batch.revision), ..RangeRequest::all() };
            let read = store.range(request).await.unwrap();
            assert_eq!(state.values().cloned().collect::<Vec<_>>(), read.kvs, "at {}", batch.revision);
        }
    }
    store.close().await.unwrap();
}

#[tokio::test]
async fn events_from_the_ring_rebuild_every_revision() {
    events_rebuild_every_revision(8192).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_across_ring_and_history_rebuild_every_revision() {
    events_rebuild_every_revision(3).await;
}

#[tokio::test]
async fn previous_values_that_no_writer_needed_are_there_for_who_comes_later() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        dir: dir.path().to_path_buf(),
        disk_reserve_bytes: 0,
        // Of some keys the newest version is remembered, of others all but its value, of the rest nothing.
        head_cache_bytes: 64 << 10,
        sync: false,
        ..Config::default()
    };
    let store = Store::open(config).await.unwrap();
    for round in 0..4 {
        for key in 0..220 {
            store.put(format!("{key:03}"), format!("{round}-{key}")).await.unwrap();
        }
    }
    store.delete("007").await.unwrap();
    let mut late = store.watch(watch_all(2)).await;
    for key in 0..220 {
        store.put(format!("{key:03}"), "last").await.unwrap();
    }
    let last = store.revision();
    let all = collect(&mut late, last).await;
    assert_eq!(i64::try_from(all.len()).unwrap(), last.0 - 1);
    let mut state = BTreeMap::new();
    all.iter().flat_map(|batch| &batch.events).for_each(|event| play(&mut state, event));
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_watchers_of_ranges_see_exactly_their_keys() {
    let (_dir, store) = open(16).await;
    let ranges: [(&str, Option<&str>); 6] = [
        ("a0", None),
        ("a", Some("b")),
        ("b", Some("\0")),
        ("b1", Some("b3")),
        ("zz", None),
        ("", Some("\0")),
    ];
    let mut watchers = Vec::new();
    for (key, end) in ranges {
        for (filter_put, filter_delete) in [(false, false), (true, false), (false, true)] {
            let request = WatchRequest {
                key: Bytes::from(key),
                range_end: end.map(Bytes::from),
                start: None,
                prev_kv: true,
                filter_put,
                filter_delete,
                progress: true,
            };
            watchers.push((request.clone(), store.watch(request).await));
        }
    }
    for seed in 0..3 {
        write(&store, seed, 150).await;
    }
    let last = store.revision();
    let all = collect(&mut store.watch(watch_all(2)).await, last).await;
    for (request, watch) in &mut watchers {
        let found: Vec<Event> =
            collect(watch, last).await.into_iter().flat_map(|batch| batch.events).collect();
        let inside = |key: &[u8]| match request.range_end.as_deref() {
            None => key == &request.key[..],
            Some(b"\0") => key >= &request.key[..],
            Some(end) => key >= &request.key[..] && key < end,
        };
        let wanted: Vec<Event> = all
            .iter()
            .flat_map(|batch| &batch.events)
            .filter(|event| inside(&event.kv.key))
            .filter(|event| !(request.filter_put && event.kind == EventKind::Put))
            .filter(|event| !(request.filter_delete && event.kind == EventKind::Delete))
            .cloned()
            .collect();
        assert_eq!(found, wanted, "{request:?}");
    }
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_is_cut_anywhere_resumes_without_gap_or_repeat() {
    let (_dir, store) = open(8).await;
    let writing = write(&store, 1, 400);
    let reading = async {
        let mut rng = StdRng::seed_from_u64(2);
        let mut position = Revision(2);
        let mut seen = Vec::new();
        while seen.len() < 250 {
            let mut watch = store.watch(watch_all(position.0)).await;
            for _ in 0..rng.random_range(0..9) {
                // Half of the calls are dropped while they wait.
                let impatient = rng.random_bool(0.5);
                let called = tokio::time::timeout(
                    if impatient { Duration::from_micros(200) } else { DEADLINE },
                    watch.next(),
                )
                .await;
                match called {
                    Ok(batch) => {
                        seen.extend(batch.unwrap().events.first().map(|event| event.kv.mod_revision));
                    }
                    Err(_elapsed) => assert!(impatient, "an event is due"),
                }
            }
            position = watch.position();
        }
        (seen, position)
    };
    let ((), (seen, position)) = tokio::join!(writing, reading);
    assert_eq!(seen, (2..).map(Revision).take(seen.len()).collect::<Vec<_>>());
    assert!(position > *seen.last().unwrap());
    store.close().await.unwrap();
}

#[tokio::test]
async fn progress_is_never_ahead_of_events() {
    let (_dir, store) = open(8).await;
    let mut watch = store.watch(WatchRequest { progress: true, ..WatchRequest::key("rare") }).await;
    let writing = async {
        for i in 0..300 {
            store.put(if i % 50 == 0 { "rare" } else { "often" }, format!("{i}")).await.unwrap();
            if i % 50 == 25 {
                tokio::time::sleep(Duration::from_millis(30)).await; // longer than the progress interval
            }
        }
    };
    let reading = async {
        let mut promised = Revision(1);
        let mut events = 0;
        let mut progress = 0;
        while events < 6 || progress < 3 {
            let batch = next(&mut watch).await;
            if batch.events.is_empty() {
                assert!(batch.revision >= promised, "progress goes back");
                assert!(batch.revision <= store.revision(), "progress is ahead of the store");
                progress += 1;
            } else {
                assert!(
                    batch.revision > promised,
                    "an event at {} after progress {promised}",
                    batch.revision
                );
                events += 1;
            }
            promised = promised.max(batch.revision);
        }
    };
    tokio::join!(writing, reading);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_watch_from_the_future_waits_for_its_revision_without_telling_of_earlier_ones() {
    let (_dir, store) = open(8).await;
    let request = WatchRequest { progress: true, ..WatchRequest::prefix("").starting_at(Revision(5)) };
    let mut watch = store.watch(request).await;
    let early = tokio::time::timeout(Duration::from_millis(100), watch.next()).await; // several progress intervals
    assert!(early.is_err(), "{early:?}");
    for i in 0..6 {
        store.put("k", format!("{i}")).await.unwrap();
    }
    let mut batch = next(&mut watch).await;
    if batch.events.is_empty() {
        assert_eq!(batch.revision, Revision(4), "all before the start");
        batch = next(&mut watch).await;
    }
    assert_eq!(batch.revision, Revision(5));
    store.close().await.unwrap();
}

#[tokio::test]
async fn an_idle_watch_is_not_hurt_by_compaction_and_a_lagging_one_is_told() {
    let (_dir, store) = open(4).await;
    let mut idle = store.watch(WatchRequest::key("rare")).await;
    let mut lagging = store.watch(WatchRequest::key("k")).await;
    for i in 0..100 {
        store.put("k", format!("{i}")).await.unwrap();
    }
    store.compact(Revision(90)).await.unwrap();
    store.put("rare", "x").await.unwrap();
    assert_eq!(next(&mut idle).await.revision, Revision(102));
    let error = tokio::time::timeout(DEADLINE, lagging.next()).await.unwrap().unwrap_err();
    assert_eq!(error, WatchError::Compacted { floor: Revision(90) });
    assert_eq!(lagging.next().await.unwrap_err(), error, "the same again");
    store.close().await.unwrap();
}

#[tokio::test]
async fn dropped_watches_are_gone() {
    let (_dir, store) = open(8).await;
    let mut watches = Vec::new();
    for i in 0..50 {
        watches.push(store.watch(WatchRequest::prefix(format!("{i}"))).await);
        watches.push(store.watch(WatchRequest::key(format!("{i}"))).await);
    }
    assert_eq!(store.status().await.unwrap().watchers, 100);
    watches.truncate(30);
    assert_eq!(store.status().await.unwrap().watchers, 30);
    drop(watches);
    assert_eq!(store.status().await.unwrap().watchers, 0);
    store.close().await.unwrap();
}
