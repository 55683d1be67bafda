//! What a write in a cluster tells of its way.

use std::sync::{Arc, Mutex};

use mainstay_store::{ForwardedWrites, Store, WriteTimes};

use crate::members::{Members, in_time, until};

/// Notes, each with the names of the stretches that its write went on the leader.
type Told = Arc<Mutex<Vec<(Vec<u8>, Vec<&'static str>)>>>;

fn listen(told: &Told) -> ForwardedWrites {
    let told = Arc::clone(told);
    ForwardedWrites::new(move |note, times| {
        let names = times.stretches().iter().map(|stretch| stretch.name).collect();
        told.lock().unwrap().push((note.to_vec(), names));
    })
}

#[tokio::test]
async fn a_leader_tells_the_way_of_another_members_write_under_the_note_that_it_came_with() {
    let mut members = Members::start(3).await;
    let told = Told::default();
    for member in 0..3 {
        members.stores[member].take().unwrap().close().await.unwrap();
        let mut config = members.config(member);
        config.cluster.as_mut().unwrap().forwarded_writes = Some(listen(&told));
        members.stores[member] = Some(Store::open(config).await.unwrap());
    }
    for store in members.all() {
        in_time(store.ready()).await.unwrap();
    }
    let mut writes = 0;
    until("the leader tells of a follower's write", async || {
        writes += 1;
        let note = format!("write {writes}");
        let times = Arc::new(WriteTimes::with_note(note.clone()));
        let follower = members.store(members.a_follower().await);
        in_time(follower.timed(&times).put("k", note.clone())).await.unwrap();
        let told = told.lock().unwrap();
        let way = told.iter().find(|(of, _)| *of == note.as_bytes()).map(|(_, way)| way);
        way.is_some_and(|way| way.first() == Some(&"raft propose") && way.last() == Some(&"raft apply"))
    })
    .await;
    // Neither without a note, nor with one that is too long, nor on the member that leads itself.
    let before = told.lock().unwrap().len();
    let store = members.store(members.leader().await);
    for times in [WriteTimes::with_note("own"), WriteTimes::with_note(vec![b'x'; 257]), WriteTimes::default()]
    {
        in_time(store.timed(&Arc::new(times)).put("k", "v")).await.unwrap();
    }
    let follower = members.store(members.a_follower().await);
    let too_long = Arc::new(WriteTimes::with_note(vec![b'x'; 257]));
    in_time(follower.timed(&too_long).put("k", "v")).await.unwrap();
    let after = told.lock().unwrap().clone();
    assert!(after[before..].iter().all(|(note, _)| note.starts_with(b"write")), "{after:?}");
    members.close().await;
}

#[tokio::test]
async fn a_write_tells_its_way_where_it_was_proposed() {
    let members = Members::start(3).await;
    // The stretches of one write; the leader may be another by then, so that who leads is looked at each time.
    let stretches = async |store: &Store| {
        let times = Arc::new(WriteTimes::default());
        in_time(store.timed(&times).put("k", "v")).await.unwrap();
        let all = times.stretches();
        assert!(all.iter().all(|stretch| stretch.began <= stretch.ended), "{all:?}");
        all.iter().map(|stretch| stretch.name).collect::<Vec<_>>()
    };
    until("a follower tells of the way to the leader", async || {
        stretches(members.store(members.a_follower().await)).await == ["raft forward"]
    })
    .await;
    until("the leader tells of its log", async || {
        let told = stretches(members.store(members.leader().await)).await;
        // The others may have the entry on disk before the leader has, and that is enough.
        told.first() == Some(&"raft propose") && told.last() == Some(&"raft apply")
    })
    .await;
    members.close().await;
}
