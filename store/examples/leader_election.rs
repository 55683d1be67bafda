//! Leader election: a key that only one candidate can create, on a lease that ends when its owner falls silent.
//!
//! `cargo run -p mainstay-store --example leader_election`
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::time::Duration;

use mainstay_store::{Compare, Config, EventKind, LeaseId, PutRequest, Store, Txn, WatchRequest};
use tokio::task::JoinSet;

const LEADER: &str = "election/leader";
const TTL: Duration = Duration::from_secs(2);

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let dir = tempfile::tempdir()?;
    let store = Store::open(Config { dir: dir.path().to_path_buf(), ..Config::default() }).await?;
    let mut candidates = JoinSet::new();
    for name in ["anna", "bert", "cleo"] {
        candidates.spawn(run(store.clone(), name));
    }
    while let Some(ended) = candidates.join_next().await {
        ended??;
    }
    store.close().await?;
    Ok(())
}

/// Waits until it leads, leads for a moment, then dies without a word; its lease tells the others.
async fn run(store: Store, name: &'static str) -> Result<(), Failure> {
    loop {
        let lease = store.lease_grant(TTL, None).await?.id;
        if campaign(&store, name, lease).await? {
            println!("{name} leads");
            lead(&store, lease).await?;
            println!("{name} dies");
            return Ok(());
        }
        store.lease_revoke(lease).await?;
        wait_for_vacancy(&store).await?;
    }
}

/// Takes the key, unless somebody has it.
async fn campaign(store: &Store, name: &'static str, lease: LeaseId) -> Result<bool, Failure> {
    let claim = PutRequest::new(LEADER, name).with_lease(lease);
    let txn = Txn::when([Compare::absent(LEADER)]).then([claim]);
    Ok(store.txn(txn).await?.succeeded)
}

/// What only the leader may write, it writes under the condition that the key is still on its lease: a leader that was asleep for too long
/// finds out here, not by its clock.
async fn lead(store: &Store, lease: LeaseId) -> Result<(), Failure> {
    for step in 0..3 {
        store.lease_keep_alive(lease).await?;
        let mine = Compare::new(
            LEADER,
            mainstay_store::CompareTarget::Lease(lease),
            mainstay_store::CompareOp::Equal,
        );
        let work = Txn::when([mine]).then([PutRequest::new("work/step", format!("{step}"))]);
        if !store.txn(work).await?.succeeded {
            println!("no longer the leader");
            return Ok(());
        }
        tokio::time::sleep(TTL / 8).await;
    }
    Ok(())
}

async fn wait_for_vacancy(store: &Store) -> Result<(), Failure> {
    // Watching begins at the revision after the look: a deletion in between is not missed.
    let look = store.range(mainstay_store::RangeRequest::key(LEADER)).await?;
    if look.kvs.is_empty() {
        return Ok(());
    }
    let mut changes = store.watch(WatchRequest::key(LEADER).starting_at(look.revision.next())).await;
    loop {
        if changes.next().await?.events.iter().any(|event| event.kind == EventKind::Delete) {
            return Ok(());
        }
    }
}
