//! A work queue: jobs are claimed by a transaction, done once, and come back when a worker dies.
//!
//! `cargo run -p mainstay-store --example work_queue`
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use mainstay_store::{
    Compare, Config, DeleteRangeRequest, LeaseId, Op, PutRequest, RangeRequest, Store, Txn, WatchRequest,
};
use tokio::task::JoinSet;

const JOBS: &str = "queue/jobs/";
const CLAIMS: &str = "queue/claims/";
const TTL: Duration = Duration::from_secs(2);

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let dir = tempfile::tempdir()?;
    let store = Store::open(Config { dir: dir.path().to_path_buf(), ..Config::default() }).await?;
    let mut workers = JoinSet::new();
    for worker in 0..3 {
        workers.spawn(work(store.clone(), worker));
    }
    for job in 0..10 {
        store.put(format!("{JOBS}{job:03}"), format!("resize image {job}")).await?;
    }
    let mut done = 0;
    while let Some(ended) = workers.join_next().await {
        done += ended??;
    }
    println!("{done} jobs done, {} left", store.range(RangeRequest::prefix(JOBS)).await?.count);
    store.close().await?;
    Ok(())
}

/// Takes jobs until there are none; worker 0 dies with its second one.
async fn work(store: Store, worker: u32) -> Result<u32, Failure> {
    let lease = store.lease_grant(TTL, None).await?.id;
    let mut done = 0;
    loop {
        let Some(job) = claim_any(&store, worker, lease).await? else {
            if !wait_for_change(&store, lease).await? {
                return Ok(done);
            }
            continue;
        };
        if worker == 0 && done == 1 {
            println!("worker 0 dies with {}", String::from_utf8_lossy(&job));
            return Ok(done); // its lease ends, and with it the claim
        }
        finish(&store, &job).await?;
        println!("worker {worker} did {}", String::from_utf8_lossy(&job));
        done += 1;
    }
}

/// The first job that nobody else has.
async fn claim_any(store: &Store, worker: u32, lease: LeaseId) -> Result<Option<Bytes>, Failure> {
    for job in store.range(RangeRequest::prefix(JOBS)).await?.kvs {
        let claim = claim_of(&job.key);
        // The job is still there, and nobody claims it.
        let txn = Txn::when([
            Compare::unchanged(job.key.clone(), job.mod_revision),
            Compare::absent(claim.clone()),
        ])
        .then([PutRequest::new(claim, format!("{worker}")).with_lease(lease)]);
        if store.txn(txn).await?.succeeded {
            return Ok(Some(job.key));
        }
    }
    Ok(None)
}

/// Job and claim go together.
async fn finish(store: &Store, job: &Bytes) -> Result<(), Failure> {
    let both: [Op; 2] =
        [DeleteRangeRequest::key(job.clone()).into(), DeleteRangeRequest::key(claim_of(job)).into()];
    store.txn(Txn::default().then(both)).await?;
    Ok(())
}

/// Waits until jobs or claims change, keeping the lease alive meanwhile; false if nothing is left to do.
async fn wait_for_change(store: &Store, lease: LeaseId) -> Result<bool, Failure> {
    let queue = store.range(RangeRequest::prefix("queue/")).await?;
    if queue.kvs.is_empty() {
        return Ok(false);
    }
    let mut changes = store.watch(WatchRequest::prefix("queue/").starting_at(queue.revision.next())).await;
    loop {
        // `next` loses nothing when it is dropped.
        match tokio::time::timeout(TTL / 3, changes.next()).await {
            Ok(batch) => {
                batch?;
                return Ok(true);
            }
            Err(_elapsed) => drop(store.lease_keep_alive(lease).await?),
        }
    }
}

fn claim_of(job: &[u8]) -> Bytes {
    let name = job.strip_prefix(JOBS.as_bytes()).unwrap_or(job);
    [CLAIMS.as_bytes(), name].concat().into()
}
