//! Several members in one process: what one acknowledges all have, whoever comes, goes, lags or is cut off.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a test waits for what it spawns")]
mod changing;
mod idle;
mod members;
mod removed;
mod restored;
mod silence;
mod versions;
mod write_times;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use mainstay_store::{
    ClusterError, Config, EventKind, InitialState, Link, MemoryTransport, PutRequest, RangeRequest, Revision,
    Store, Transport, WatchRequest, WriteError,
};
use members::{Members, in_time, initial, until, url};
use tokio::time::Instant;

#[tokio::test]
async fn every_member_writes_reads_and_watches() {
    let members = Members::start(3).await;
    let mut watches = Vec::new();
    for store in members.all() {
        watches.push(store.watch(WatchRequest::prefix("k").starting_at(Revision(2))).await);
    }
    for round in 0..5 {
        for (member, store) in members.all().enumerate() {
            let written = in_time(store.put(format!("k{round}-{member}"), "v")).await.unwrap();
            for other in members.all() {
                let found = in_time(other.get(format!("k{round}-{member}"))).await.unwrap().unwrap();
                assert_eq!(found.mod_revision, written.revision, "a read that began later sees the write");
            }
        }
    }
    for watch in &mut watches {
        for revision in 2..=16 {
            let batch = in_time(watch.next()).await.unwrap();
            assert_eq!((batch.revision, batch.events.len()), (Revision(revision), 1));
        }
    }
    let known = in_time(members.store(0).members(true)).await.unwrap();
    assert_eq!(known.len(), 3);
    until("every member tells its name and clients", async || {
        let known = members.store(1).members(false).await.unwrap();
        known.iter().all(|member| member.client_urls.len() == 1 && !member.is_learner)
    })
    .await;
    let status = members.store(2).status().await.unwrap();
    assert_eq!(status.leader, Some(members.store(members.leader().await).member_id()));
    assert!(status.raft_index >= status.applied_index && !status.is_learner);
    members.close().await;
}

#[tokio::test]
async fn a_leader_whose_process_ends_is_replaced_at_once_and_nothing_is_lost() {
    let mut members = Members::start(3).await;
    for i in 0..20 {
        in_time(members.store(0).put(format!("k{i}"), "v")).await.unwrap();
    }
    let leader = members.leader().await;
    let other = members.a_follower().await;
    let crashed = Instant::now();
    members.crash(leader);
    in_time(members.store(other).put("after", "v")).await.unwrap();
    let gap = crashed.elapsed();
    println!("writes were back after {gap:?}");
    assert!(gap < Duration::from_millis(500), "no election timeout was waited for: {gap:?}");
    assert_eq!(in_time(members.store(other).range(RangeRequest::all())).await.unwrap().count, 21);
    members.reopen(leader).await;
    in_time(members.store(leader).ready()).await.unwrap();
    assert_eq!(in_time(members.store(leader).range(RangeRequest::all())).await.unwrap().count, 21);
    members.close().await;
}

/// Counts how often other members are dialled.
#[derive(Debug)]
struct Counting {
    transport: MemoryTransport,
    dials: Arc<AtomicUsize>,
}

impl Transport for Counting {
    fn dial<'a>(&'a self, url: &'a str) -> BoxFuture<'a, std::io::Result<Link>> {
        self.dials.fetch_add(1, Ordering::Relaxed);
        self.transport.dial(url)
    }

    fn accept(&self) -> BoxFuture<'_, std::io::Result<Link>> {
        self.transport.accept()
    }

    fn close(&self) {
        self.transport.close();
    }
}

/// A leader once tried to reach a member that had ended tens of thousands of times a second.
#[tokio::test]
async fn a_member_that_has_ended_is_dialled_now_and_then() {
    let mut members = Members::start(3).await;
    let dials = Arc::new(AtomicUsize::new(0));
    for member in 0..3 {
        let closing = members.stores[member].take().unwrap();
        in_time(closing.close()).await.unwrap();
        let transport = members.network.transport(format!("m{member}"), [url(member)]);
        let counting = Counting { transport, dials: Arc::clone(&dials) };
        let store = in_time(Store::open(members.config_at(member, counting))).await.unwrap();
        members.stores[member] = Some(store);
    }
    let gone = members.a_follower().await;
    members.crash(gone);
    let leader = members.leader().await;
    dials.store(0, Ordering::Relaxed);
    let began = Instant::now();
    let mut written = 0;
    while began.elapsed() < Duration::from_millis(700) {
        in_time(members.store(leader).put("k", format!("{written}"))).await.unwrap();
        written += 1;
    }
    let dials = dials.load(Ordering::Relaxed);
    assert!(dials < 100, "{dials} dials during {written} writes");
    members.close().await;
}

#[tokio::test]
async fn a_minority_refuses_and_serves_only_its_own_state() {
    let mut members = Members::start(3).await;
    in_time(members.store(0).put("k", "v")).await.unwrap();
    until("all have it", async || members.all().all(|store| store.revision() == Revision(2))).await;
    members.crash(0);
    members.crash(1);
    let alone = members.store(2);
    let own = RangeRequest { serializable: true, ..RangeRequest::all() };
    assert_eq!(in_time(alone.range(own)).await.unwrap().count, 1);
    let refused = in_time(alone.put("k", "v")).await.unwrap_err();
    assert!(matches!(refused, WriteError::NoLeader | WriteError::Timeout), "{refused}");
    members.reopen(0).await;
    in_time(members.store(2).ready()).await.unwrap();
    in_time(members.store(2).put("k", "v2")).await.unwrap();
    members.close().await;
}

#[tokio::test]
async fn a_member_that_lags_too_far_gets_a_snapshot_while_others_write() {
    let mut members = Members::start(3).await;
    let lagging = members.a_follower().await;
    let mut lease_keys = 0;
    let lease = in_time(members.store(lagging).lease_grant(Duration::from_secs(600), None)).await.unwrap();
    in_time(members.store(lagging).put("before", "v")).await.unwrap();
    let stopped = members.stores[lagging].take().unwrap();
    stopped.close().await.unwrap();
    let writer = members.a_follower().await;
    let writer = if writer == lagging { members.leader().await } else { writer };
    let value = vec![b'x'; 16 << 10];
    for i in 0..400 {
        let mut put = PutRequest::new(format!("k{:03}", i % 300), value.clone());
        if (200..203).contains(&i) {
            put = put.with_lease(lease.id);
            lease_keys += 1;
        }
        in_time(members.store(writer).put_with(put)).await.unwrap();
    }
    in_time(members.store(writer).delete("k299")).await.unwrap();
    members.reopen(lagging).await;
    let store = members.store(lagging).clone();
    let mut watch = store.watch(WatchRequest::key("k299").starting_at(Revision(3))).await;
    in_time(store.ready()).await.unwrap();
    let there = in_time(store.range(RangeRequest::all())).await.unwrap();
    assert_eq!(there.count, 300);
    assert_eq!(store.revision(), members.store(writer).revision());
    let kinds = [in_time(watch.next()).await.unwrap(), in_time(watch.next()).await.unwrap()];
    assert_eq!(kinds.map(|batch| batch.events[0].kind), [EventKind::Put, EventKind::Delete]);
    let left = in_time(store.lease_time_to_live(lease.id, true)).await.unwrap();
    assert_eq!(left.keys.len(), lease_keys);
    in_time(store.put("after", "v")).await.unwrap();
    assert!(members.dirs[lagging].path().join("TABLES").exists(), "it came as a snapshot");
    // What came as a snapshot is there after a restart.
    let stopped = members.stores[lagging].take().unwrap();
    drop((store, watch));
    stopped.close().await.unwrap();
    members.reopen(lagging).await;
    in_time(members.store(lagging).ready()).await.unwrap();
    assert_eq!(in_time(members.store(lagging).range(RangeRequest::all())).await.unwrap().count, 301);
    members.close().await;
}

#[tokio::test]
async fn members_come_and_go_under_load() {
    let mut members = Members::start(1).await;
    let writer = {
        let store = members.store(0).clone();
        tokio::spawn(async move {
            let mut written = 0;
            while store.put(format!("load{}", written % 50), "v").await.is_ok() {
                written += 1;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            written
        })
    };
    for member in 1..3 {
        // The second as a voter, the third as a learner that is promoted.
        let learner = member == 2;
        let added = in_time(members.store(0).member_add(vec![url(member)], learner)).await.unwrap();
        assert_eq!((added.name.as_str(), added.is_learner), ("", learner));
        members.dirs.push(tempfile::tempdir().unwrap());
        members.stores.push(None);
        let mut config = members.config(member);
        let cluster = config.cluster.as_mut().unwrap();
        cluster.initial = initial(member + 1);
        cluster.state = InitialState::Existing;
        let store = in_time(Store::open(config)).await.unwrap();
        assert_eq!(store.member_id(), added.id);
        in_time(store.ready()).await.unwrap();
        if learner {
            assert!(store.status().await.unwrap().is_learner);
            until("it has caught up", async || store.member_promote(added.id).await.is_ok()).await;
            assert_eq!(store.member_promote(added.id).await, Err(ClusterError::NotLearner(added.id)));
        }
        until("it gets its vote", async || !store.leadership().borrow().is_learner).await;
        members.stores[member] = Some(store);
    }
    members.initial = 3;
    let learner = in_time(members.store(1).member_add(vec![url(7)], true)).await.unwrap();
    assert!(learner.is_learner);
    let not_ready = in_time(members.store(2).member_promote(learner.id)).await.unwrap_err();
    assert_eq!(not_ready, ClusterError::LearnerNotReady(learner.id));
    in_time(members.store(2).member_remove(learner.id)).await.unwrap();
    let gone = in_time(members.store(2).member_remove(learner.id)).await.unwrap_err();
    assert_eq!(gone, ClusterError::MemberNotFound(learner.id));
    let removed = members.store(2).member_id();
    in_time(members.store(1).member_remove(removed)).await.unwrap();
    in_time(members.store(2).stopped()).await;
    let told = members.store(2).put("k", "v").await.unwrap_err();
    assert!(told.to_string().contains("removed"), "{told}");
    assert_eq!(in_time(members.store(1).members(true)).await.unwrap().len(), 2);
    in_time(members.store(1).put("still", "v")).await.unwrap();
    let closing = members.stores[0].take().unwrap();
    in_time(closing.close()).await.unwrap();
    assert!(in_time(writer).await.unwrap() > 0);
    for member in 1..3 {
        in_time(members.stores[member].take().unwrap().close()).await.unwrap();
    }
}

/// While it was alone, its own disk was enough.
#[tokio::test]
async fn a_member_that_is_not_alone_any_more_answers_nothing_without_the_other() {
    let mut members = Members::start(1).await;
    for number in 0..20 {
        in_time(members.store(0).put(format!("alone/{number}"), "v")).await.unwrap();
    }
    in_time(members.store(0).member_add(vec![url(1)], false)).await.unwrap();
    members.dirs.push(tempfile::tempdir().unwrap());
    members.stores.push(None);
    let mut config = members.config(1);
    let cluster = config.cluster.as_mut().unwrap();
    cluster.initial = initial(2);
    cluster.state = InitialState::Existing;
    let second = in_time(Store::open(config)).await.unwrap();
    in_time(second.ready()).await.unwrap();
    until("it gets its vote", async || !second.leadership().borrow().is_learner).await;
    members.stores[1] = Some(second);
    in_time(members.store(0).put("together", "v")).await.unwrap();
    let before = members.store(0).revision();
    members.network.isolate("m1");
    let refused = in_time(members.store(0).put("without", "v")).await.unwrap_err();
    assert!(matches!(refused, WriteError::NoLeader | WriteError::Timeout), "{refused}");
    let own = RangeRequest { serializable: true, ..RangeRequest::key("without") };
    assert_eq!(in_time(members.store(0).range(own)).await.unwrap().count, 0, "nor is it seen");
    assert_eq!(members.store(0).revision(), before);
    members.network.heal();
    in_time(members.store(1).ready()).await.unwrap();
    in_time(members.store(1).put("again", "v")).await.unwrap();
    members.close().await;
}

#[tokio::test]
async fn leadership_moves_without_a_failed_write() {
    let members = Members::start(3).await;
    let stop = tokio_util::sync::CancellationToken::new();
    let mut writers = Vec::new();
    for (member, store) in members.all().cloned().enumerate() {
        let stop = stop.clone();
        writers.push(tokio::spawn(async move {
            let (mut written, mut slowest) = (0, Duration::ZERO);
            while !stop.is_cancelled() {
                let began = Instant::now();
                store.put(format!("w{member}"), format!("{written}")).await.unwrap();
                slowest = slowest.max(began.elapsed());
                written += 1;
            }
            (written, slowest)
        }));
    }
    for _ in 0..6 {
        let leader = members.leader().await;
        let next = members.store((leader + 1) % 3).member_id();
        let refused = in_time(members.store((leader + 1) % 3).move_leader(next)).await;
        assert_eq!(refused, Err(ClusterError::NotLeader));
        in_time(members.store(leader).move_leader(next)).await.unwrap();
        until("it leads", async || members.leader().await == (leader + 1) % 3).await;
    }
    assert_eq!(
        in_time(members.store(members.leader().await).move_leader(99)).await,
        Err(ClusterError::BadTransferee(99))
    );
    stop.cancel();
    for (member, writer) in writers.into_iter().enumerate() {
        let (written, slowest) = in_time(writer).await.unwrap();
        println!("member {member}: {written} writes, the slowest took {slowest:?}");
        // Each write happened once: a key's version counts them.
        let kv = in_time(members.store(0).get(format!("w{member}"))).await.unwrap().unwrap();
        assert_eq!(kv.version, written, "every write happened once");
    }
    members.close().await;
}

#[tokio::test]
async fn a_leader_that_hands_over_goes_on_as_a_follower() {
    let members = Members::start(3).await;
    let before = members.leader().await;
    in_time(members.store(before).hand_over()).await;
    let after = members.leader().await;
    assert_ne!(before, after);
    in_time(members.store(before).put("k", "through a follower")).await.unwrap();
    in_time(members.store(before).hand_over()).await;
    assert_eq!(members.leader().await, after, "who does not lead has nothing to hand over");
    members.close().await;
}

#[tokio::test]
async fn a_leader_whose_disk_is_full_hands_over_to_the_member_that_has_room() {
    let mut members = Members::start(3).await;
    // No disk is large enough for two of them.
    for member in [0, 1] {
        let closing = members.stores[member].take().unwrap();
        in_time(closing.close()).await.unwrap();
        let config = Config { disk_reserve_bytes: u64::MAX, ..members.config(member) };
        members.stores[member] = Some(in_time(Store::open(config)).await.unwrap());
        in_time(members.store(member).ready()).await.unwrap();
    }
    let full = members.store(0).member_id();
    if members.leader().await == 2 {
        in_time(members.store(2).move_leader(full)).await.unwrap();
    }
    until("a write is taken", async || members.store(0).put("k", "v").await.is_ok()).await;
    assert_eq!(members.leader().await, 2);
    in_time(members.store(1).put("k", "through one whose disk is full")).await.unwrap();
    members.close().await;
}

#[tokio::test]
async fn a_lease_outlives_its_leader_by_no_more_than_its_time() {
    let mut members = Members::start(3).await;
    let leader = members.leader().await;
    let follower = members.a_follower().await;
    let ttl = Duration::from_secs(2);
    let lease = in_time(members.store(follower).lease_grant(ttl, None)).await.unwrap();
    let key = PutRequest::new("leased", "v").with_lease(lease.id);
    in_time(members.store(follower).put_with(key)).await.unwrap();
    assert_eq!(in_time(members.store(follower).lease_keep_alive(lease.id)).await.unwrap(), ttl);
    let mut watch = members.store(follower).watch(WatchRequest::key("leased")).await;
    members.crash(leader);
    in_time(members.store(follower).lease_keep_alive(lease.id)).await.unwrap();
    let renewed = Instant::now();
    let batch = in_time(watch.next()).await.unwrap();
    let lived = renewed.elapsed();
    assert_eq!(batch.events[0].kind, EventKind::Delete);
    assert!(lived + Duration::from_millis(200) > ttl, "it ended early: {lived:?}");
    assert!(lived < 2 * ttl + Duration::from_secs(1), "it ended late: {lived:?}");
    members.close().await;
}

#[tokio::test]
async fn a_member_that_comes_back_deposes_nobody() {
    let members = Members::start(3).await;
    let leader = members.leader().await;
    let away = members.a_follower().await;
    let before = *members.store(leader).leadership().borrow();
    members.network.isolate(&format!("m{away}"));
    for i in 0..30 {
        in_time(members.store(leader).put("k", format!("{i}"))).await.unwrap();
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    members.network.heal();
    in_time(members.store(away).ready()).await.unwrap();
    let found = in_time(members.store(away).get("k")).await.unwrap().unwrap();
    assert_eq!(found.value, "29");
    assert_eq!(*members.store(leader).leadership().borrow(), before, "the same leader, the same term");
    members.close().await;
}

#[tokio::test]
async fn a_leader_that_is_cut_off_is_replaced_and_its_reads_are_not_stale() {
    let members = Members::start(3).await;
    let leader = members.leader().await;
    let other = members.a_follower().await;
    in_time(members.store(leader).put("k", "old")).await.unwrap();
    members.network.isolate(&format!("m{leader}"));
    in_time(members.store(other).put("k", "new")).await.unwrap();
    let stale = tokio::time::timeout(Duration::from_millis(300), members.store(leader).get("k")).await;
    assert!(!matches!(stale, Ok(Ok(_))), "a leader without its quorum must not answer: {stale:?}");
    members.network.heal();
    in_time(members.store(leader).ready()).await.unwrap();
    assert_eq!(in_time(members.store(leader).get("k")).await.unwrap().unwrap().value, "new");
    members.close().await;
}

#[tokio::test]
async fn a_copied_directory_and_a_stranger_are_refused() {
    let mut members = Members::start(3).await;
    let copied = members.a_follower().await;
    let stopped = members.stores[copied].take().unwrap();
    stopped.close().await.unwrap();
    let copy = tempfile::tempdir().unwrap();
    copy_dir(members.dirs[copied].path(), copy.path());
    members.reopen(copied).await;
    in_time(members.store(copied).ready()).await.unwrap();
    let transport = members.network.transport("copy", ["http://copy:2380"]);
    let config = Config { dir: copy.path().to_path_buf(), ..members.config_at(copied, transport) };
    let second = Store::open(config).await.unwrap();
    in_time(second.stopped()).await;
    let told = second.put("k", "v").await.unwrap_err();
    assert!(told.to_string().contains("copied"), "{told}");
    in_time(members.store(copied).put("k", "v")).await.unwrap();
    second.close().await.unwrap();

    // A member of another cluster, by its token, is refused: it stays without a leader.
    let elsewhere = tempfile::tempdir().unwrap();
    let transport = members.network.transport("stranger", ["http://stranger:2380"]);
    let mut config = Config { dir: elsewhere.path().to_path_buf(), ..members.config_at(copied, transport) };
    config.cluster.as_mut().unwrap().token = "another".into();
    let stranger = Store::open(config).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(stranger.leader(), None);
    in_time(members.store(copied).put("k", "v")).await.unwrap();
    stranger.close().await.unwrap();
    members.close().await;
}

fn copy_dir(from: &std::path::Path, to: &std::path::Path) {
    for item in std::fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let target = to.join(item.file_name());
        if item.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy_dir(&item.path(), &target);
        } else {
            std::fs::copy(item.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn five_members_lose_two_and_go_on() {
    let mut members = Members::start(5).await;
    in_time(members.store(0).put("k", "1")).await.unwrap();
    for _ in 0..2 {
        let leader = members.leader().await;
        members.crash(leader);
        let other = members.a_follower().await;
        in_time(members.store(other).put("k", "2")).await.unwrap();
    }
    let left = members.a_follower().await;
    assert_eq!(in_time(members.store(left).get("k")).await.unwrap().unwrap().version, 3);
    members.close().await;
}

#[tokio::test]
async fn a_rolling_restart_fails_no_write_that_is_tried_once_more() {
    let mut members = Members::start(3).await;
    let open = Arc::new(std::sync::Mutex::new(members.stores.clone()));
    let stop = tokio_util::sync::CancellationToken::new();
    let writer = {
        let (open, stop) = (Arc::clone(&open), stop.clone());
        let pick = move |turn: usize| {
            let open: Vec<Store> = open.lock().unwrap().iter().flatten().cloned().collect();
            open[turn % open.len()].clone()
        };
        tokio::spawn(async move {
            let (mut written, mut again, mut slowest) = (0, 0, Duration::ZERO);
            while !stop.is_cancelled() {
                let began = Instant::now();
                if pick(written).put("k", format!("{written}")).await.is_err() {
                    again += 1;
                    pick(written + 1).put("k", format!("{written}")).await.unwrap();
                }
                slowest = slowest.max(began.elapsed());
                written += 1;
            }
            (written, again, slowest)
        })
    };
    for member in 0..3 {
        open.lock().unwrap()[member] = None;
        let restarting = members.stores[member].take().unwrap();
        in_time(restarting.close()).await.unwrap();
        members.reopen(member).await;
        in_time(members.store(member).ready()).await.unwrap();
        open.lock().unwrap()[member] = Some(members.store(member).clone());
    }
    stop.cancel();
    let (written, again, slowest) = in_time(writer).await.unwrap();
    println!("{written} writes, {again} tried again, the slowest took {slowest:?}");
    open.lock().unwrap().clear();
    members.close().await;
}

#[tokio::test]
async fn a_member_moves_to_another_address() {
    let mut members = Members::start(3).await;
    let moving = members.a_follower().await;
    let id = members.store(moving).member_id();
    let taken = url((moving + 1) % 3);
    let refused = in_time(members.store(moving).member_update(id, vec![taken.clone()])).await;
    assert_eq!(refused, Err(ClusterError::PeerUrlExists(taken)));
    in_time(members.store(moving).member_update(id, vec!["http://moved:2380".into()])).await.unwrap();
    let closing = members.stores[moving].take().unwrap();
    in_time(closing.close()).await.unwrap();
    let transport = members.network.transport(format!("m{moving}"), ["http://moved:2380"]);
    let store = in_time(Store::open(members.config_at(moving, transport))).await.unwrap();
    in_time(store.ready()).await.unwrap();
    in_time(store.put("k", "v")).await.unwrap();
    let known = in_time(store.members(true)).await.unwrap();
    let moved = known.iter().find(|member| member.id == id).unwrap();
    assert_eq!(moved.peer_urls, ["http://moved:2380"]);
    in_time(store.close()).await.unwrap();
    members.close().await;
}

#[tokio::test]
async fn writes_go_on_once_each_while_links_break() {
    let members = Members::start(3).await;
    let stop = tokio_util::sync::CancellationToken::new();
    let mut writers = Vec::new();
    for (member, store) in members.all().cloned().enumerate() {
        let stop = stop.clone();
        writers.push(tokio::spawn(async move {
            let (mut written, mut slowest) = (0, Duration::ZERO);
            while !stop.is_cancelled() {
                let began = Instant::now();
                store.put(format!("w{member}"), format!("{written}")).await.unwrap();
                slowest = slowest.max(began.elapsed());
                written += 1;
            }
            (written, slowest)
        }));
    }
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        members.network.break_links();
    }
    stop.cancel();
    for (member, writer) in writers.into_iter().enumerate() {
        let (written, slowest) = in_time(writer).await.unwrap();
        println!("member {member}: {written} writes, the slowest took {slowest:?}");
        let kv = in_time(members.store(0).get(format!("w{member}"))).await.unwrap().unwrap();
        assert_eq!(kv.version, written, "every write happened once");
        assert!(slowest < Duration::from_secs(3), "no write waited for its deadline: {slowest:?}");
    }
    members.close().await;
}
