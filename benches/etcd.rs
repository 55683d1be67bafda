//! Our store beside a real etcd: the same load from the same generator over gRPC, in turns, on the same disk, CPU of the servers counted.
//!
//! `cargo bench -p mainstay --bench etcd` runs everything in about ten minutes; arguments choose sections (`put`, `read`, `txn`, `watch`,
//! `memory`, `cluster`), `quick` shortens the rounds. Needs `scripts/etcd-peer` (an etcd from PyPI). Run it on a quiet machine.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a bench prints, measures time, and may end anywhere"
)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "figures for people"
)]

#[path = "etcd/connect.rs"]
mod connect;
#[path = "etcd/histogram.rs"]
mod histogram;
#[path = "etcd/load.rs"]
mod load;
#[path = "etcd/peer.rs"]
mod peer;
#[path = "etcd/process.rs"]
mod process;
#[path = "etcd/report.rs"]
mod report;
#[path = "etcd/stamps.rs"]
mod stamps;
#[path = "etcd/watch_load.rs"]
mod watch_load;
#[path = "etcd/wire.rs"]
mod wire;

use std::time::Duration;

use load::Load;
use peer::{Cluster, Product};
use report::Report;

/// How long and how often.
#[derive(Clone, Copy)]
struct Pace {
    rounds: usize,
    round: Duration,
    keys: usize,
}

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let quick = wanted.iter().any(|word| word == "quick");
    let chosen: Vec<&String> = wanted.iter().filter(|word| *word != "quick").collect();
    let is_wanted = |name: &str| chosen.is_empty() || chosen.iter().any(|word| *word == name);
    let pace = if quick {
        Pace { rounds: 1, round: Duration::from_millis(700), keys: 20_000 }
    } else {
        Pace { rounds: 3, round: Duration::from_secs(4), keys: 1_000_000 }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut report = Report::begin();
        if ["put", "read", "txn", "watch"].into_iter().any(is_wanted) {
            let pair = start_pair(1).await;
            if is_wanted("put") {
                puts(&mut report, &pair, pace, "one member").await;
            }
            if is_wanted("txn") {
                creates(&mut report, &pair, pace).await;
            }
            if is_wanted("read") {
                reads(&mut report, &pair, pace).await;
            }
            if is_wanted("watch") {
                watches(&mut report, &pair, pace).await;
            }
        }
        if is_wanted("memory") {
            memory(&mut report, pace).await;
        }
        if is_wanted("cluster") {
            let pair = start_pair(3).await;
            puts(&mut report, &pair, pace, "three members").await;
        }
        report.end();
    });
}

async fn start_pair(members: usize) -> [Cluster; 2] {
    [Cluster::start(Product::Etcd, members).await, Cluster::start(Product::Mainstay, members).await]
}

/// Runs a load on both, in turns.
async fn in_turns<F, W>(report: &mut Report, name: &str, pair: &[Cluster; 2], pace: Pace, work: F)
where
    F: Fn(Load, usize) -> W,
    W: Future<Output = load::Measured>,
{
    for round in 0..pace.rounds {
        for cluster in pair {
            let before = cluster.cpu();
            let mut measured = work(cluster.load().await, round).await;
            measured.cpu = cluster.cpu().saturating_sub(before);
            report.add(name, cluster.product, measured);
        }
    }
    report.line(name);
}

async fn puts(report: &mut Report, pair: &[Cluster; 2], pace: Pace, members: &str) {
    for clients in [1, 64, 256] {
        let name = format!("put 256 B, {members}, {clients} clients");
        in_turns(report, &name, pair, pace, |load, _| load.puts(clients, pace.round)).await;
    }
}

async fn creates(report: &mut Report, pair: &[Cluster; 2], pace: Pace) {
    for clients in [64, 256] {
        let name = format!("txn create, {clients} clients");
        in_turns(report, &name, pair, pace, |load, round| load.creates(clients, round, pace.round)).await;
    }
}

async fn reads(report: &mut Report, pair: &[Cluster; 2], pace: Pace) {
    for cluster in pair {
        cluster.load().await.fill("read/", pace.keys.min(100_000)).await;
    }
    let keys = pace.keys.min(100_000);
    for (name, serializable) in [("linearizable", false), ("serializable", true)] {
        let name = format!("range of one key, {name}, 64 clients");
        in_turns(report, &name, pair, pace, |load, _| load.gets(64, keys, serializable, pace.round)).await;
    }
    in_turns(report, "range of 1,000 keys, 64 clients", pair, pace, |load, _| {
        load.ranges(64, keys, pace.round)
    })
    .await;
}

async fn watches(report: &mut Report, pair: &[Cluster; 2], pace: Pace) {
    for (watchers, streams) in [(1, 1), (100, 10), (1000, 100), (10_000, 100)] {
        let shape = watch_load::Shape { watchers, streams };
        let name = format!("watch, {watchers} watchers of one prefix on {streams} streams, paced");
        in_turns(report, &name, pair, pace, |load, round| load.paced_watch(shape, round, pace.round)).await;
        let name = format!("watch, {watchers} watchers of one prefix on {streams} streams, unpaced");
        in_turns(report, &name, pair, pace, |load, round| load.unpaced_watch(shape, round, pace.round)).await;
    }
}

/// Many keys: memory, restart, snapshot.
async fn memory(report: &mut Report, pace: Pace) {
    for product in [Product::Etcd, Product::Mainstay] {
        let mut cluster = Cluster::start(product, 1).await;
        report.note(product, "RSS, empty", &format!("{} MiB", cluster.rss_mib()));
        cluster.load().await.fill("many/", pace.keys).await;
        let keys = pace.keys;
        report.note(product, &format!("RSS, {keys} keys of 256 B"), &format!("{} MiB", cluster.rss_mib()));
        let snapshot = match cluster.load().await.snapshot().await {
            Ok((bytes, took)) => {
                let rate = bytes as f64 / f64::from(1 << 20) / took.as_secs_f64();
                format!("{rate:.0} MiB/s of {} MiB", bytes >> 20)
            }
            Err(refused) => refused.message().to_owned(),
        };
        report.note(product, "snapshot", &snapshot);
        let restart = cluster.restart("many/00000000").await;
        report.note(
            product,
            &format!("restart to the first read with {keys} keys"),
            &format!("{restart:.2?}"),
        );
        report.note(product, "RSS after it", &format!("{} MiB", cluster.rss_mib()));
    }
}
