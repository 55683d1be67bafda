//! How fast the embedded store is, and how much memory it takes. Prints medians of several rounds; run it on a quiet machine:
//! `cargo bench -p mainstay-store --bench store`. Arguments choose sections by name; `memory` and `idle` mean most when they run alone.
//! Everything takes about four minutes. What is wanted stands beside a figure where something is.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a bench prints, measures time, and may end anywhere"
)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::unchecked_time_subtraction,
    reason = "figures for people"
)]

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use mainstay_store::{
    Compare, Config, PutRequest, RangeRequest, Revision, SnapshotRequest, Store, Txn, WatchRequest,
};

/// As in the binary. An entry is allocated on one thread and freed on another, which costs glibc's allocator much more.
#[used]
static ALLOCATOR: &(dyn std::alloc::GlobalAlloc + Sync) = &mimalloc::MiMalloc;

type Section = fn(&Path);

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(1500);

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let sections: [(&str, Section); 9] = [
        ("put", put_rates),
        ("read", reads),
        ("watch", watch_latency),
        ("restart", restart),
        ("memory", memory),
        ("idle", idle),
        ("compaction", compaction),
        ("many", many_keys),
        ("slope", slope),
    ];
    println!("mainstay-store, 256-byte values, fdatasync on, medians of {ROUNDS} rounds");
    for (name, section) in sections {
        let is_wanted = wanted.iter().any(|wanted| wanted == name);
        // The slope takes as long as everything else together.
        if is_wanted || (wanted.is_empty() && name != "slope") {
            let dir = tempfile::tempdir_in(std::env::current_dir().unwrap()).unwrap();
            section(dir.path());
        }
    }
}

fn on_runtime<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(work)
}

/// The cheapest way to run the store: its own threads do the rest.
fn on_one_thread<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

async fn open(dir: &Path) -> Store {
    open_as(dir, false).await
}

/// With or without leave to sync on the thread that a lone caller is on.
async fn open_as(dir: &Path, sync_where_proposed: bool) -> Store {
    Store::open(Config { dir: dir.join("store"), sync_where_proposed, ..Config::default() }).await.unwrap()
}

fn median<T: Ord + Copy>(mut values: Vec<T>) -> T {
    values.sort_unstable();
    values[values.len() / 2]
}

fn percentile(values: &mut [Duration], part: f64) -> Duration {
    values.sort_unstable();
    values[((values.len() - 1) as f64 * part) as usize]
}

/// The CPU time of this process.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

fn rss_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Runs `work` from so many tasks for a round; returns operations a second.
async fn rate<F, W>(store: &Store, tasks: usize, work: F) -> u64
where
    F: Fn(Store, usize, u64) -> W + Copy + Send + Sync + 'static,
    W: Future<Output = ()> + Send,
{
    let start = Instant::now();
    let running: Vec<_> = (0..tasks)
        .map(|task| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut done = 0_u64;
                while start.elapsed() < ROUND {
                    work(store.clone(), task, done).await;
                    done += 1;
                }
                done
            })
        })
        .collect();
    let mut total = 0;
    for task in running {
        total += task.await.unwrap();
    }
    (total as f64 / start.elapsed().as_secs_f64()) as u64
}

fn put_rates(dir: &Path) {
    on_one_thread(async {
        puts(&dir.join("own"), "one worker that the store may hold up", true, [(1, "5,000")]).await;
        let shapes = [(1, ""), (16, ""), (64, ""), (256, "180,000"), (1000, "")];
        puts(&dir.join("one"), "one worker", false, shapes).await;
        let store = open(&dir.join("creates")).await;
        let mut rates = Vec::new();
        for round in 0..ROUNDS {
            rates.push(create_rate(&store, round).await);
        }
        println!("txn create, one worker, 64 tasks: {:>7}/s", median(rates));
        store.close().await.unwrap();
    });
    on_runtime(async {
        puts(&dir.join("two"), "two workers", false, [(1, ""), (256, "")]).await;
    });
}

/// Puts from so many tasks, with what is wanted; each into a store of its own, so that none pays for what another left behind.
async fn puts<const N: usize>(dir: &Path, runtime: &str, hold_up: bool, shapes: [(usize, &str); N]) {
    for (tasks, wanted) in shapes {
        let store = open_as(&dir.join(format!("{tasks}")), hold_up).await;
        let mut rates = Vec::new();
        let mut costs = Vec::new();
        for _ in 0..ROUNDS {
            let before = (cpu(), store.revision());
            rates.push(
                rate(&store, tasks, |store, task, done| async move {
                    let key = format!("bench/{task}/{}", done % 1000);
                    store.put(key, vec![b'v'; 256]).await.unwrap();
                })
                .await,
            );
            let puts = (store.revision().0 - before.1.0).max(1) as u128;
            costs.push((cpu() - before.0).as_nanos() / puts);
        }
        let wanted = if wanted.is_empty() { String::new() } else { format!(" (wanted {wanted})") };
        println!(
            "put, {runtime}, {tasks:>4} tasks: {:>7}/s, {:>5.1} us CPU each{wanted}",
            median(rates),
            median(costs) as f64 / 1000.0
        );
        store.close().await.unwrap();
    }
}

async fn create_rate(store: &Store, round: usize) -> u64 {
    let before = store.revision();
    let start = Instant::now();
    let running: Vec<_> = (0..64)
        .map(|task| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut done = 0_u64;
                while start.elapsed() < ROUND {
                    let key = format!("create/{round}/{task}/{done}");
                    let txn = Txn::when([Compare::absent(key.clone())])
                        .then([PutRequest::new(key, vec![b'v'; 256])]);
                    assert!(store.txn(txn).await.unwrap().succeeded);
                    done += 1;
                }
            })
        })
        .collect();
    for task in running {
        task.await.unwrap();
    }
    ((store.revision().0 - before.0) as f64 / start.elapsed().as_secs_f64()) as u64
}

async fn fill(store: &Store, keys: usize) {
    for chunk in (0..keys).collect::<Vec<_>>().chunks(100) {
        let puts: Vec<PutRequest> =
            chunk.iter().map(|i| PutRequest::new(format!("fill/{i:08}"), vec![b'v'; 256])).collect();
        store.txn(Txn::default().then(puts)).await.unwrap();
    }
}

fn reads(dir: &Path) {
    on_runtime(async {
        let store = open(dir).await;
        fill(&store, 100_000).await;
        for tasks in [1, 64] {
            let mut rates = Vec::new();
            for _ in 0..ROUNDS {
                rates.push(
                    rate(&store, tasks, |store, task, done| async move {
                        let key = format!("fill/{:08}", (task as u64 * 7919 + done * 31) % 100_000);
                        black_box(store.get(key).await.unwrap().unwrap());
                    })
                    .await,
                );
            }
            println!("get, {tasks:>2} tasks: {:>7}/s", median(rates));
        }
        let mut times = Vec::new();
        for i in 0..200 {
            let request = RangeRequest {
                limit: 1000,
                uncounted: true,
                ..RangeRequest::range(format!("fill/{:08}", i * 97), "fill0")
            };
            let start = Instant::now();
            assert_eq!(black_box(store.range(request).await.unwrap()).kvs.len(), 1000);
            times.push(start.elapsed());
        }
        println!("range of 1000 keys: {:?}", median(times));
        let mut times = Vec::new();
        for _ in 0..5 {
            let start = Instant::now();
            let request = RangeRequest { count_only: true, ..RangeRequest::prefix("fill/") };
            assert_eq!(store.range(request).await.unwrap().count, 100_000);
            times.push(start.elapsed());
        }
        println!("count of 100,000 keys: {:?}", median(times));
        store.close().await.unwrap();
    });
}

fn watch_latency(dir: &Path) {
    on_runtime(async {
        let store = open(dir).await;
        let epoch = Instant::now();
        for watchers in [1, 100, 1000, 10_000] {
            for (name, pace) in [("paced", Some(Duration::from_millis(10))), ("unpaced", None)] {
                let events = if pace.is_some() { 100 } else { 40_000 / watchers.max(10) as u64 * 10 };
                let (mut latencies, puts) = one_watch_run(&store, epoch, watchers, events, pace).await;
                println!(
                    "watch, {watchers:>4} watchers of one prefix, {name:>7}: p50 {:?}, p99 {:?}, {puts} puts/s",
                    percentile(&mut latencies, 0.5),
                    percentile(&mut latencies, 0.99)
                );
            }
        }
        store.close().await.unwrap();
    });
}

/// Each put carries the time it was sent at; a watcher takes the difference.
async fn one_watch_run(
    store: &Store,
    epoch: Instant,
    watchers: usize,
    events: u64,
    pace: Option<Duration>,
) -> (Vec<Duration>, u64) {
    let mut running = Vec::new();
    for _ in 0..watchers {
        let mut watch = store.watch(WatchRequest::prefix("watched/")).await;
        running.push(tokio::spawn(async move {
            let mut latencies = Vec::new();
            let mut seen = 0;
            while seen < events {
                for event in watch.next().await.unwrap().events {
                    let sent = u64::from_le_bytes(event.kv.value[..8].try_into().unwrap());
                    latencies.push((epoch.elapsed()).saturating_sub(Duration::from_nanos(sent)));
                    seen += 1;
                }
            }
            latencies
        }));
    }
    let start = Instant::now();
    let writers = if pace.is_some() { 1 } else { 10 };
    let writing = (0..writers).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            for i in 0..events / writers {
                let mut value = vec![0; 256];
                value[..8].copy_from_slice(&(epoch.elapsed().as_nanos() as u64).to_le_bytes());
                store.put(format!("watched/{writer}/{}", i % 100), value).await.unwrap();
                if let Some(pace) = pace {
                    tokio::time::sleep(pace).await;
                }
            }
        })
    });
    for writer in writing.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let puts = (events as f64 / start.elapsed().as_secs_f64()) as u64;
    let mut latencies = Vec::new();
    for watcher in running {
        latencies.extend(watcher.await.unwrap());
    }
    (latencies, puts)
}

fn restart(dir: &Path) {
    on_runtime(async {
        let mut first = Vec::new();
        for round in 0..ROUNDS {
            let fresh = dir.join(format!("fresh-{round}"));
            let start = Instant::now();
            let store = open(&fresh).await;
            first.push(start.elapsed());
            store.close().await.unwrap();
        }
        println!("open a new store: {:?}", median(first));
        let store = open(dir).await;
        fill(&store, 100_000).await;
        store.close().await.unwrap();
        let mut opens = Vec::new();
        let mut closes = Vec::new();
        for _ in 0..ROUNDS {
            let start = Instant::now();
            let store = open(dir).await;
            opens.push(start.elapsed());
            assert!(store.revision() > Revision(1000));
            let start = Instant::now();
            store.close().await.unwrap();
            closes.push(start.elapsed());
        }
        println!("open with 100,000 keys: {:?}; close: {:?}", median(opens), median(closes));
    });
}

fn memory(dir: &Path) {
    on_runtime(async {
        let store = open(dir).await;
        let empty = rss_kib();
        println!("memory, empty: {} MiB", empty / 1024);
        for keys in 1..=3 {
            for chunk in 0..1000 {
                let put =
                    |i: usize| PutRequest::new(format!("mem/{keys}/{:08}", chunk * 100 + i), vec![b'v'; 256]);
                store.txn(Txn::default().then((0..100).map(put))).await.unwrap();
            }
            println!(
                "memory, {keys}00,000 keys of 256 bytes: {} MiB (+{} MiB)",
                rss_kib() / 1024,
                (rss_kib() - empty) / 1024
            );
        }
        let before = rss_kib();
        let mut watches = Vec::new();
        for i in 0..100_000 {
            watches.push(store.watch(WatchRequest::key(format!("idle/{i}"))).await);
        }
        println!(
            "memory, one of 100,000 idle watches: {} bytes (wanted below 2,048)",
            (rss_kib() - before) * 1024 / 100_000
        );
        drop(watches);
        store.close().await.unwrap();
    });
}

fn idle(dir: &Path) {
    on_runtime(async {
        let store = open(dir).await;
        fill(&store, 1000).await;
        let _watch = store.watch(WatchRequest::prefix("")).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (before, start) = (cpu(), Instant::now());
        tokio::time::sleep(Duration::from_secs(10)).await;
        let part = (cpu() - before).as_secs_f64() / start.elapsed().as_secs_f64();
        println!("idle: {:.2} % of a core", part * 100.0);
        store.close().await.unwrap();
    });
}

/// Puts from 16 tasks for as long as `go_on` says; their latencies.
async fn put_latencies(
    store: &Store,
    go_on: impl Fn() -> bool + Clone + Send + Sync + 'static,
) -> Vec<Duration> {
    let tasks: Vec<_> = (0..16)
        .map(|task| {
            let (store, go_on) = (store.clone(), go_on.clone());
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                while go_on() {
                    let start = Instant::now();
                    let key = format!("churn/{task}/{}", latencies.len() % 1000);
                    store.put(key, vec![b'v'; 256]).await.unwrap();
                    latencies.push(start.elapsed());
                }
                latencies
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.unwrap());
    }
    all
}

/// What a compaction of a million revisions does to puts.
fn compaction(dir: &Path) {
    on_runtime(async {
        let store = open(dir).await;
        let mut written = 0;
        while written < 1_000_000 {
            let put = |i| store.put(format!("old/{:05}", (written + i) % 50_000), vec![b'v'; 256]);
            for put in futures::future::join_all((0..1000).map(put)).await {
                put.unwrap();
            }
            written += 1000;
        }
        let start = Instant::now();
        let mut before = put_latencies(&store, move || start.elapsed() < Duration::from_secs(5)).await;
        let full = store.status().await.unwrap().db_size_bytes;
        store.compact(store.revision()).await.unwrap();
        let start = Instant::now();
        let mut during = put_latencies(&store, move || start.elapsed() < Duration::from_secs(10)).await;
        let left = store.status().await.unwrap().db_size_bytes;
        for (name, latencies) in [("before", &mut before), ("during", &mut during)] {
            println!(
                "put, 16 tasks, {name} the compaction of 1M revisions: p50 {:?}, p99 {:?}, p99.9 {:?}, {} puts",
                percentile(latencies, 0.5),
                percentile(latencies, 0.99),
                percentile(latencies, 0.999),
                latencies.len()
            );
        }
        let times = percentile(&mut during, 0.99).as_secs_f64() / percentile(&mut before, 0.99).as_secs_f64();
        println!("p99 during the compaction: {times:.2} times (wanted at most 2)");
        println!("size before {} MiB, ten seconds after {} MiB", full >> 20, left >> 20);
        store.close().await.unwrap();
    });
}

/// A million keys: memory, restart.
fn many_keys(dir: &Path) {
    on_runtime(async {
        let store = open(dir).await;
        let empty = rss_kib();
        let start = Instant::now();
        fill(&store, 1_000_000).await;
        println!("1M keys of 256 bytes written in {:?}", start.elapsed());
        println!("memory: {} MiB (empty {} MiB; wanted below 350)", rss_kib() / 1024, empty / 1024);
        println!("size: {} MiB", store.status().await.unwrap().db_size_bytes >> 20);
        let start = Instant::now();
        let mut pieces = Box::pin(store.snapshot(SnapshotRequest::default()));
        let mut bytes = 0;
        while let Some(piece) = pieces.next().await {
            bytes += piece.unwrap().len();
        }
        let speed = bytes as f64 / f64::from(1 << 20) / start.elapsed().as_secs_f64();
        println!("snapshot in the store's own format: {speed:.0} MiB/s of {} MiB (wanted 400)", bytes >> 20);
        let start = Instant::now();
        let hash = store.hash_kv(None).await.unwrap();
        println!("hash of all keys: {:?} ({:08x})", start.elapsed(), hash.hash);
        store.close().await.unwrap();
        let start = Instant::now();
        let store = open(dir).await;
        store.get("fill/00000000").await.unwrap().unwrap();
        println!(
            "open with 1M keys, to the first read: {:?} (wanted below 1 s); memory {} MiB",
            start.elapsed(),
            rss_kib() / 1024
        );
        let mut rates = Vec::new();
        for _ in 0..ROUNDS {
            rates.push(
                rate(&store, 64, |store, task, done| async move {
                    let key = format!("fill/{:08}", (task as u64 * 7919 + done * 48_271) % 1_000_000);
                    store.put(key, vec![b'v'; 256]).await.unwrap();
                })
                .await,
            );
        }
        println!("put over 1M keys that are not in memory, 64 tasks: {}/s", median(rates));
        println!("memory: {} MiB", rss_kib() / 1024);
        store.close().await.unwrap();
    });
}

/// 256 bytes that no compression makes smaller.
fn noise(seed: usize) -> Vec<u8> {
    let mut state = (seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let word = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..32).flat_map(word).collect()
}

/// How memory, size and rates grow with the keys: as many millions as `MAINSTAY_BENCH_MILLIONS` says (10), four times fewer first.
fn slope(dir: &Path) {
    let millions: usize =
        std::env::var("MAINSTAY_BENCH_MILLIONS").map_or(10, |millions| millions.parse().unwrap());
    on_runtime(async {
        let store = open(dir).await;
        let mut keys = 0;
        for wanted in [millions / 4, millions / 2, millions].map(|millions| millions * 1_000_000) {
            let start = Instant::now();
            let before = keys;
            while keys < wanted {
                let put = |i: usize| {
                    let key =
                        format!("slope/{:010}", (keys + i).wrapping_mul(2_654_435_761) % 10_000_000_000);
                    PutRequest::new(key, noise(keys + i))
                };
                store.txn(Txn::default().then((0..100).map(put))).await.unwrap();
                keys += 100;
            }
            println!(
                "{} million keys of 256 bytes: {:.0} keys/s written, {} MiB on disk, RSS {} MiB",
                keys / 1_000_000,
                (keys - before) as f64 / start.elapsed().as_secs_f64(),
                store.status().await.unwrap().db_size_bytes >> 20,
                rss_kib() / 1024
            );
        }
        let read = rate(&store, 64, move |store, task, done| async move {
            let at = (task + 1).wrapping_mul(7919 * 48_271).wrapping_add(done as usize * 104_729) % keys;
            let key = format!("slope/{:010}", at.wrapping_mul(2_654_435_761) % 10_000_000_000);
            black_box(store.get(key).await.unwrap().unwrap());
        });
        println!("get of any of them, 64 tasks: {}/s, RSS {} MiB", read.await, rss_kib() / 1024);
        store.close().await.unwrap();
        let start = Instant::now();
        let store = open(dir).await;
        store.get("slope/0000000000").await.unwrap().unwrap();
        println!("open, to the first read: {:?}, RSS {} MiB", start.elapsed(), rss_kib() / 1024);
        store.close().await.unwrap();
    });
}
