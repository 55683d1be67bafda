//! Members that were removed.
use std::time::Duration;

use crate::members::{Members, in_time};

#[tokio::test]
async fn a_member_that_was_removed_while_it_was_away_stops_when_it_comes_back() {
    let mut members = Members::start(3).await;
    let away = members.a_follower().await;
    let id = members.store(away).member_id();
    members.crash(away);
    let other = members.leader().await;
    in_time(members.store(other).member_remove(id)).await.unwrap();
    in_time(members.store(other).put("k", "v")).await.unwrap();
    members.reopen(away).await;
    in_time(members.store(away).stopped()).await;
    let told = members.store(away).put("k", "v").await.unwrap_err();
    assert!(told.to_string().contains("removed"), "{told}");
    members.close().await;
}

/// Its links are open, and the leader stops sending to it with the same entry.
#[tokio::test]
async fn a_member_that_is_removed_while_it_runs_stops_soon() {
    let mut members = Members::start(3).await;
    for at in [members.a_follower().await, members.leader().await] {
        let removed = members.stores[at].take().unwrap();
        let other = members.all().next().unwrap();
        in_time(other.member_remove(removed.member_id())).await.unwrap();
        let soon = tokio::time::timeout(Duration::from_secs(3), removed.stopped());
        soon.await.expect("it hears of it");
        let told = removed.put("k", "v").await.unwrap_err();
        assert!(told.to_string().contains("removed"), "{told}");
        in_time(removed.close()).await.unwrap();
        in_time(members.all().next().unwrap().put("still", "v")).await.unwrap();
    }
    members.close().await;
}
