//! What a write in a cluster tells of its way.

use std::sync::Arc;

use mainstay_store::{Store, WriteTimes};

use crate::members::{Members, in_time, until};

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
