//! The store's gRPC face alone: a server in a process of its own, and the load that `benches/etcd.rs` puts on etcd and on us. Prints rates,
//! latencies and the server's CPU time a call.
//!
//! `cargo bench -p mainstay-store --features etcd --bench face [put] [txn] [read] [watch] [quick] [CLIENTS or WATCHERS]`. CPU times mean something on
//! a machine that is busy with other things too; rates and latencies do not. `BACKLOG` in the environment is how many bytes may wait for watchers before
//! writers do (0: they never wait). With `hold`, the server's process number is printed and the first load runs for a
//! minute: for a profiler.
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

#[path = "../../benches/etcd/connect.rs"]
mod connect;
#[path = "../../benches/etcd/histogram.rs"]
mod histogram;
#[path = "../../benches/etcd/load.rs"]
mod load;
#[path = "../../benches/etcd/process.rs"]
mod process;
#[path = "../../benches/etcd/stamps.rs"]
mod stamps;
#[path = "../../benches/etcd/watch_load.rs"]
mod watch_load;
#[path = "../../benches/etcd/wire.rs"]
mod wire;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use load::{Load, Measured};
use mainstay_store::etcd::{Endpoint, FaceConfig, Listener, Server};
use mainstay_store::{Config, Store};
use tokio_util::sync::CancellationToken;

/// As in the binary: it is a part of what is measured.
#[used]
static ALLOCATOR: &(dyn std::alloc::GlobalAlloc + Sync) = &mimalloc::MiMalloc;

/// The argument that makes this the server, before its directory.
const SERVE: &str = "serve-in";

fn main() {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    match &arguments[..] {
        [serve, dir] if serve == SERVE => runtime.block_on(run_server(dir)),
        words => runtime.block_on(run_loads(words)),
    }
}

/// Serves a new store until it is killed; prints where.
async fn run_server(dir: &str) {
    let default = Config::default();
    let config =
        Config { dir: dir.into(), head_cache_bytes: 160 << 20, sync_where_proposed: true, ..default };
    let store = Store::open(config).await.unwrap();
    let endpoint: Endpoint = "http://127.0.0.1:0".parse().unwrap();
    let listener = Listener::bind(&endpoint, None).await.unwrap();
    println!("{}", listener.endpoint());
    let mut face = FaceConfig::default();
    if let Ok(backlog) = std::env::var("BACKLOG") {
        face.watch_backlog_bytes = Some(backlog.parse().unwrap()).filter(|bytes| *bytes > 0);
    }
    let server = Server::new(store, face).unwrap();
    server.serve(vec![listener], CancellationToken::new()).await;
}

struct Served {
    child: Child,
    endpoint: String,
    _dir: tempfile::TempDir,
}

impl Served {
    fn start() -> Self {
        // Beside the build, not in a tmpfs: the disk is part of what is measured.
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([SERVE, dir.path().join("store").to_str().unwrap()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut endpoint = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut endpoint).unwrap();
        Self { child, endpoint: endpoint.trim().to_owned(), _dir: dir }
    }

    async fn measure<W: Future<Output = Measured>>(
        &self,
        name: &str,
        rounds: usize,
        load: impl Fn(Load, usize) -> W,
    ) {
        let mut all = Vec::new();
        for round in 0..rounds {
            let before = process::cpu(self.child.id());
            let mut measured = load(Load::new(self.endpoint.clone()), round).await;
            measured.cpu = process::cpu(self.child.id()).saturating_sub(before);
            let micros = measured.cpu.as_secs_f64() * 1e6 / measured.ops as f64;
            all.push((measured.ops as f64 / measured.took.as_secs_f64(), micros, measured));
        }
        all.sort_by(|a, b| a.1.total_cmp(&b.1));
        let (rate, micros, measured) = &all[all.len() / 2];
        let millis = |part| measured.latency.percentile(part).as_secs_f64() * 1e3;
        let note = &measured.note;
        println!(
            "{name}: {rate:.0}/s, {micros:.1} us of server CPU each, p50 {:.2} ms, p99 {:.2} ms {note}",
            millis(0.5),
            millis(0.99)
        );
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

async fn run_loads(words: &[String]) {
    let has = |word: &str| words.iter().any(|given| given == word);
    let named = ["put", "txn", "read", "watch"].iter().any(|name| has(name));
    let wanted = |name: &str| !named || has(name);
    let (rounds, mut round) =
        if has("quick") { (3, Duration::from_millis(1500)) } else { (5, Duration::from_secs(4)) };
    let served = Served::start();
    if has("hold") {
        println!("the server is process {}", served.child.id());
        round = Duration::from_secs(60);
    }
    let numbered = words.iter().any(|word| word.parse::<usize>().is_ok());
    let chosen = |number: usize| !numbered || has(&number.to_string());
    let clients = [1, 64, 256].into_iter().filter(|clients| chosen(*clients));
    for clients in clients.clone().filter(|_| wanted("put")) {
        let name = format!("put 256 B, {clients} clients");
        served.measure(&name, rounds, |load, _| load.puts(clients, round)).await;
    }
    for clients in clients.filter(|clients| *clients > 1 && wanted("txn")) {
        let name = format!("create by txn, {clients} clients");
        served.measure(&name, rounds, |load, attempt| load.creates(clients, attempt, round)).await;
    }
    if wanted("read") {
        const KEYS: usize = 100_000;
        Load::new(served.endpoint.clone()).fill("read/", KEYS).await;
        for serializable in [false, true] {
            let name = format!("get of one key, serializable {serializable}, 64 clients");
            served.measure(&name, rounds, |load, _| load.gets(64, KEYS, serializable, round)).await;
        }
        served
            .measure("range of 1,000 keys, 64 clients", rounds, |load, _| load.ranges(64, KEYS, round))
            .await;
        let (bytes, took) = Load::new(served.endpoint.clone()).snapshot().await.unwrap();
        let rate = bytes as f64 / f64::from(1 << 20) / took.as_secs_f64();
        println!("snapshot in etcd's format: {rate:.0} MiB/s of {} MiB", bytes >> 20);
    }
    if wanted("watch") {
        let shapes = [(1, 1), (100, 10), (1000, 100), (10_000, 100)];
        for (watchers, streams) in shapes.into_iter().filter(|(watchers, _)| chosen(*watchers)) {
            let shape = watch_load::Shape { watchers, streams };
            let name = format!("watch, {watchers} watchers on {streams} streams, paced");
            served.measure(&name, 1, |load, attempt| load.paced_watch(shape, attempt, round)).await;
            let name = format!("watch, {watchers} watchers on {streams} streams, unpaced");
            served.measure(&name, 1, |load, attempt| load.unpaced_watch(shape, attempt, round)).await;
        }
    }
    println!("resident memory after it: {} MiB", process::rss_mib(served.child.id()));
}
