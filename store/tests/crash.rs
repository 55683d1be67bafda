//! SIGKILL at any moment loses no acknowledged write: this test runs itself as a child that writes, kills it a hundred times, and looks.
//!
//! The child writes through all that a store does: puts, transactions, deletes, leases, compaction, small log files that are used again, and
//! checkpoints. It tells of each acknowledged write on its standard output, after the fact.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mainstay_store::{
    Config, DeleteRangeRequest, LeaseId, PutRequest, RangeRequest, Revision, Store, Txn, WatchRequest,
};

const KILLS: u32 = 100;
const WRITERS: u64 = 8;
/// Tells the child where to write.
const DIR_VARIABLE: &str = "MAINSTAY_STORE_CRASH_DIR";

fn config(dir: &Path) -> Config {
    let mut config = Config { dir: dir.to_path_buf(), disk_reserve_bytes: 0, ..Config::default() };
    config.limits.request_bytes_max = 64 << 10;
    config.log_segment_bytes = 256 << 10;
    config.write_buffer_bytes = 1 << 20;
    config
}

/// What the child has been told, as the last line of each writer says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Acknowledged {
    step: u64,
    revision: i64,
    /// The child that told it. Each child may leave one more step of a writer behind that it had no time to tell.
    run: u32,
}

#[test]
fn sigkill_loses_no_acknowledged_write() {
    if let Some(dir) = std::env::var_os(DIR_VARIABLE) {
        child(Path::new(&dir));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut acknowledged: BTreeMap<u64, Acknowledged> = BTreeMap::new();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for kill in 0..KILLS {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let lines = (random >> 33) % 400;
        run_and_kill(dir.path(), lines, kill, &mut acknowledged);
        // Opening is half of the test: the child opens the directory each time; here it is looked into now and then, and at the end.
        if kill % 10 == 9 {
            runtime.block_on(check(dir.path(), kill, &acknowledged));
        }
    }
    assert!(
        acknowledged.values().map(|last| last.step).sum::<u64>() > u64::from(KILLS) * 50,
        "there was load: {acknowledged:?}"
    );
}

/// Starts the child, reads what it acknowledges, and kills it after so many lines.
fn run_and_kill(dir: &Path, lines: u64, run: u32, acknowledged: &mut BTreeMap<u64, Acknowledged>) {
    let mut child = start(dir);
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut seen = 0;
    let mut line = String::new();
    while seen <= lines {
        line.clear();
        assert_ne!(out.read_line(&mut line).unwrap(), 0, "the child ended by itself");
        seen += u64::from(note(&line, run, acknowledged));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // What it had told before it died counts as well.
    line.clear();
    while out.read_line(&mut line).unwrap_or(0) > 0 {
        if line.ends_with('\n') {
            note(&line, run, acknowledged);
        }
        line.clear();
    }
}

fn start(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sigkill_loses_no_acknowledged_write", "--nocapture"])
        .env(DIR_VARIABLE, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

fn note(line: &str, run: u32, acknowledged: &mut BTreeMap<u64, Acknowledged>) -> bool {
    let mut words = line.split_whitespace();
    if words.next() != Some("ack") {
        return false;
    }
    let mut number = || words.next().unwrap().parse::<u64>().unwrap();
    let (writer, step, revision) = (number(), number(), number().cast_signed());
    let last = acknowledged.entry(writer).or_default();
    assert!(
        step > last.step && revision > last.revision,
        "writer {writer} went back from {last:?} to {step} at {revision}"
    );
    *last = Acknowledged { step, revision, run };
    true
}

/// Every writer's newest acknowledged step is there, or a later one; what belongs together is there together; revisions did not go back.
async fn check(dir: &Path, run: u32, acknowledged: &BTreeMap<u64, Acknowledged>) {
    let store = Store::open(config(dir)).await.unwrap();
    for (writer, last) in acknowledged {
        assert!(store.revision().0 >= last.revision);
        let step = step_of(&store, *writer).await;
        let untold = u64::from(run - last.run) + 1;
        assert!(
            (last.step..=last.step + untold).contains(&step),
            "writer {writer} has {step}, in run {run}, and had told {last:?}"
        );
        let pair = store.range(RangeRequest::prefix(format!("pair/{writer}/"))).await.unwrap();
        let values: Vec<_> = pair.kvs.iter().map(|kv| (&kv.value, kv.mod_revision)).collect();
        assert!(values.windows(2).all(|two| two[0] == two[1]), "a transaction was torn: {values:?}");
        let owned = store.range(RangeRequest::prefix(format!("leased/{writer}/"))).await.unwrap();
        for kv in owned.kvs {
            let lease = store.lease_time_to_live(kv.lease, true).await.unwrap();
            assert!(lease.keys.contains(&kv.key), "a leased key whose lease does not know it");
        }
    }
    check_history(&store).await;
    store.close().await.unwrap();
}

/// History from the floor on has every revision once.
async fn check_history(store: &Store) {
    let status = store.status().await.unwrap();
    let first = status.compacted.max(Revision(2));
    let mut watch = store.watch(WatchRequest::prefix("").starting_at(first)).await;
    for revision in first.0..=status.revision.0 {
        let batch = tokio::time::timeout(Duration::from_secs(30), watch.next()).await.unwrap().unwrap();
        assert_eq!(batch.revision, Revision(revision));
    }
}

async fn step_of(store: &Store, writer: u64) -> u64 {
    match store.get(format!("step/{writer}")).await.unwrap() {
        None => 0,
        Some(kv) => std::str::from_utf8(&kv.value).unwrap().trim().parse().unwrap(),
    }
}

fn child(dir: &Path) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Store::open(config(dir)).await.unwrap();
        futures::future::join_all((0..WRITERS).map(|writer| write(store.clone(), writer))).await;
    });
}

/// Writes for ever; each step is one revision at least, and is told once it is acknowledged.
async fn write(store: Store, writer: u64) {
    let mut step = step_of(&store, writer).await;
    let padding = " ".repeat(500);
    loop {
        step += 1;
        let value = format!("{step}{padding}");
        let own = PutRequest::new(format!("step/{writer}"), value.clone());
        let revision = match step % 5 {
            0 => {
                let lease = store.lease_grant(Duration::from_secs(3600), None).await.unwrap();
                let leased =
                    PutRequest::new(format!("leased/{writer}/{}", step % 3), "x").with_lease(lease.id);
                store.txn(Txn::default().then([own, leased])).await.unwrap().revision
            }
            1 => {
                let gone = DeleteRangeRequest::prefix(format!("leased/{writer}/"));
                let ops: [mainstay_store::Op; 2] = [own.into(), gone.into()];
                store.txn(Txn::default().then(ops)).await.unwrap().revision
            }
            2 | 3 => {
                let pair =
                    ["a", "b"].map(|side| PutRequest::new(format!("pair/{writer}/{side}"), value.clone()));
                store.txn(Txn::default().then(pair).then([own])).await.unwrap().revision
            }
            _ => store.put_with(own).await.unwrap().revision,
        };
        let mut out = std::io::stdout().lock();
        writeln!(out, "ack {writer} {step} {}", revision.0).unwrap();
        drop(out);
        if writer == 0 && step.is_multiple_of(40) {
            revoke_unused(&store).await;
            // Another writer may have compacted further; there is none here.
            store.compact(Revision(revision.0 - 20)).await.unwrap();
        }
    }
}

async fn revoke_unused(store: &Store) {
    for lease in store.leases().await.unwrap() {
        let keys = store.lease_time_to_live(lease.id, true).await.map(|lease| lease.keys).unwrap_or_default();
        if keys.is_empty() && lease.id != LeaseId::NONE {
            // A writer may be about to attach a key: it would be told that the lease is gone. Only old ones are taken.
            let left = store.lease_time_to_live(lease.id, false).await.map(|lease| lease.remaining);
            if left.is_ok_and(|left| left < Duration::from_secs(3590)) {
                drop(store.lease_revoke(lease.id).await);
            }
        }
    }
}
