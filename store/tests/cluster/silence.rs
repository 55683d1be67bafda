//! A leader that falls silent, as one whose machine hangs: its links stay open, new ones are neither made nor refused.
use std::time::Duration;

use mainstay_store::Store;
use tokio::time::Instant;

use crate::members::{Members, in_time};

/// When this member first knew of another leader than that.
async fn another_leads(store: &Store, than: u64) -> Instant {
    let mut leadership = store.leadership();
    in_time(leadership.wait_for(|now| now.leader.is_some_and(|leader| leader != than))).await.unwrap();
    Instant::now()
}

#[tokio::test]
async fn calls_that_wait_for_a_silent_leader_go_on_when_another_leads() {
    let members = Members::start(3).await;
    let leader = members.leader().await;
    let silent = members.store(leader).member_id();
    let others: Vec<&Store> = (0..3).filter(|m| *m != leader).map(|m| members.store(m)).collect();
    for other in &others {
        in_time(other.put("k", "before")).await.unwrap(); // there is a link that this goes over
    }
    members.network.isolate(&format!("m{leader}"));
    let calls = others.iter().map(|other| async move {
        let put = async {
            in_time(other.put("k", "after")).await.unwrap();
            Instant::now()
        };
        let get = async {
            in_time(other.get("k")).await.unwrap();
            Instant::now()
        };
        let (elected, put, get) = tokio::join!(another_leads(other, silent), put, get);
        let after = |call: Instant| call.saturating_duration_since(elected);
        (after(put), after(get))
    });
    for (put, get) in futures::future::join_all(calls).await {
        // They would hear of a call that hangs after one election timeout, which is a second.
        assert!(put < Duration::from_millis(250), "a write went on {put:?} after the election");
        assert!(get < Duration::from_millis(250), "a read went on {get:?} after the election");
    }
    members.network.heal();
    members.close().await;
}
