//! Three servers beside one: how fast they write and read, how much their watchers hear, how long a join takes, what a server costs when nothing
//! happens, how soon a large snapshot serves.
//!
//! Run as root with `cargo bench -p mainstay --bench servers`; arguments choose sections (`write`, `read`, `idle`, `restore`). The machines are the
//! network namespaces of the drills in `tests/ha`, and share this machine's cores and disk. Needs what those need.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench prints and stops"
)]
#![allow(
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "a bench measures real time, as ratios"
)]
#[path = "../tests/ha/clients.rs"]
mod clients;
#[path = "../tests/ha/clock.rs"]
#[expect(dead_code, reason = "the drills use more of it")]
mod clock;
#[path = "../tests/e2e/command.rs"]
mod command;
#[path = "../tests/ha/disk.rs"]
#[expect(dead_code, reason = "the drills use more of it")]
mod disk;
#[path = "../tests/ha/machine.rs"]
#[expect(dead_code, reason = "the drills use more of it")]
mod machine;
#[path = "etcd/process.rs"]
mod process;
#[path = "../tests/ha/programs.rs"]
mod programs;

use std::pin::pin;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, ObjectMeta, PostParams, WatchEvent, WatchParams};

use clients::Clients;
use machine::{Machine, Switch};

const CONNECTIONS: usize = 64;
/// Watchers of one server, and the connections that write what they hear of.
const WATCHERS: usize = 100;
const WRITERS: usize = 16;
const ROUND: Duration = Duration::from_secs(5);
const ROUNDS: usize = 3;
const IDLE: Duration = Duration::from_secs(120);
/// After a start until things have come to rest.
const SETTLE: Duration = Duration::from_secs(20);
/// The snapshot's size in objects of this many bytes.
const LARGE: usize = 512 << 10;
const LARGE_OBJECTS: usize = 2048;

/// What connections ask for again and again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    Create,
    Get,
}

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|word| word == name);
    if ["write", "read", "idle"].into_iter().any(is_wanted) {
        servers(&is_wanted);
    }
    if is_wanted("restore") {
        restore();
    }
}

fn servers(is_wanted: &dyn Fn(&str) -> bool) {
    let calls: Vec<(&str, Call)> = [("write", Call::Create), ("read", Call::Get)]
        .into_iter()
        .filter(|(name, _)| is_wanted(name))
        .collect();
    let switch = Switch::new();
    let mut machines: Vec<Machine> = (1..=5).map(|number| switch.machine(number)).collect();
    machines[0].start(&["server", "--agent=false"]);
    let [server, agent] = ["server", "agent"].map(|class| machines[0].join_arguments(class));
    let alone: Vec<f64> =
        calls.iter().map(|(_, call)| rate("one server", *call, &machines, &machines[..1])).collect();
    if is_wanted("read") {
        watched("one server", &machines, &machines[0], &machines[0]);
    }
    for machine in &mut machines[1..3] {
        let mut arguments: Vec<&str> = server.iter().map(String::as_str).collect();
        arguments.push("--agent=false");
        println!("a server joined in {} ms", machine.start(&arguments).as_millis());
    }
    let leader = leader(&machines);
    let follower = (leader + 1) % 3;
    let through = [
        ("three servers, through the leader", &machines[leader..=leader]),
        ("three servers, through a follower", &machines[follower..=follower]),
        ("three servers, through all", &machines[..3]),
    ];
    for ((_, call), alone) in calls.iter().zip(alone) {
        for (name, servers) in through {
            let rate = rate(name, *call, &machines, servers);
            println!("  {:.2} of one server's", rate / alone);
        }
    }
    if is_wanted("read") {
        for (name, server) in [("the leader of three", leader), ("a follower", follower)] {
            watched(name, &machines, &machines[server], &machines[leader]);
        }
    }
    let arguments: Vec<&str> = agent.iter().map(String::as_str).collect();
    for machine in &mut machines[3..] {
        println!("a worker joined in {} ms", machine.start(&arguments).as_millis());
    }
    if is_wanted("idle") {
        idle(&machines);
    }
}

/// The server that leads the store.
fn leader(machines: &[Machine]) -> usize {
    let said = machines[0].kubectl(&["get", "--raw", "/mainstay/v1/servers"]).ok();
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    let leader = said["members"].as_array().unwrap().iter().find(|member| member["isLeader"] == true);
    let name = leader.expect("somebody leads")["name"].clone();
    machines.iter().position(|machine| name == machine.name()).unwrap()
}

/// Objects a second that 64 connections create or get through these servers, asked from the last machine: the median of the rounds.
fn rate(name: &str, call: Call, machines: &[Machine], servers: &[Machine]) -> f64 {
    let from = &machines[machines.len() - 1];
    let mut rates = Vec::new();
    let mut delays = Vec::new();
    for round in 0..ROUNDS {
        // A client has one connection for as long as it makes one call at a time.
        let each = CONNECTIONS.div_ceil(servers.len());
        let asked = (0..each).flat_map(|_| servers).take(CONNECTIONS);
        let verb = if call == Call::Create { "create" } else { "get" };
        let prefix = format!("{verb}-{}-{round}", name.replace([' ', ','], "-"));
        let began_all = Instant::now();
        let took: Vec<Duration> = Clients::new(from, asked).ask(async move |clients| {
            let began = Instant::now();
            let writers = clients.into_iter().enumerate().map(|(number, client)| {
                let prefix = format!("{prefix}-{number}");
                tokio::spawn(async move {
                    let api: Api<ConfigMap> = Api::default_namespaced(client);
                    let mut took = Vec::new();
                    while began.elapsed() < ROUND {
                        let map = config_map(format!("{prefix}-{}", took.len()), 256);
                        let sent = Instant::now();
                        if call == Call::Create || took.is_empty() {
                            api.create(&PostParams::default(), &map).await.unwrap();
                        } else {
                            api.get(&format!("{prefix}-0")).await.unwrap();
                        }
                        took.push(sent.elapsed());
                    }
                    took
                })
            });
            let ended = futures::future::join_all(writers).await;
            ended.into_iter().flat_map(Result::unwrap).collect()
        });
        assert!(began_all.elapsed() < ROUND * 4, "the clients were made in time");
        rates.push(took.len() as f64 / ROUND.as_secs_f64());
        delays.extend(took);
    }
    rates.sort_by(f64::total_cmp);
    delays.sort();
    let (p50, p99) = (delays[delays.len() / 2], delays[delays.len() * 99 / 100]);
    let did = if call == Call::Create { "created" } else { "read" };
    println!(
        "{name}: {:.0} objects/s {did} by {CONNECTIONS} connections, p50 {p50:.1?}, p99 {p99:.1?}",
        rates[ROUNDS / 2]
    );
    rates[ROUNDS / 2]
}

/// What the watchers of one server hear while others write through the leader as fast as they can.
fn watched(name: &str, machines: &[Machine], server: &Machine, leader: &Machine) {
    let from = &machines[machines.len() - 1];
    let asked = std::iter::repeat_n(server, WATCHERS).chain(std::iter::repeat_n(leader, WRITERS));
    let prefix = format!("watched-{}", name.replace(' ', "-"));
    let (events, written) = Clients::new(from, asked).ask(async move |clients| {
        let apis: Vec<Api<ConfigMap>> = clients.into_iter().map(Api::default_namespaced).collect();
        let (watchers, writers) = apis.split_at(WATCHERS);
        let newest = watchers[0].list(&ListParams::default().limit(1)).await.unwrap();
        let version = newest.metadata.resource_version.unwrap();
        let parameters = WatchParams::default();
        let opened =
            futures::future::join_all(watchers.iter().map(|api| api.watch(&parameters, &version))).await;
        let deadline = tokio::time::Instant::now() + ROUND;
        let hearing = opened.into_iter().map(|events| async move {
            let mut events = pin!(events.unwrap());
            let mut heard = 0_usize;
            while let Ok(Some(event)) = tokio::time::timeout_at(deadline, events.next()).await {
                heard += usize::from(matches!(event.unwrap(), WatchEvent::Added(_)));
            }
            heard
        });
        let writing = writers.iter().enumerate().map(|(number, api)| {
            let prefix = format!("{prefix}-{number}");
            async move {
                let mut written = 0_usize;
                while tokio::time::Instant::now() < deadline {
                    let map = config_map(format!("{prefix}-{written}"), 256);
                    api.create(&PostParams::default(), &map).await.unwrap();
                    written += 1;
                }
                written
            }
        });
        let (heard, written) =
            tokio::join!(futures::future::join_all(hearing), futures::future::join_all(writing));
        (heard.into_iter().sum::<usize>(), written.into_iter().sum::<usize>())
    });
    let seconds = ROUND.as_secs_f64();
    println!(
        "{name}: {WATCHERS} watchers hear {:.0} events/s, of {:.0} objects/s that {WRITERS} connections create",
        events as f64 / seconds,
        written as f64 / seconds
    );
}

fn config_map(name: String, bytes: usize) -> ConfigMap {
    let data = [("text".to_owned(), "x".repeat(bytes))];
    let metadata = ObjectMeta { name: Some(name), ..ObjectMeta::default() };
    ConfigMap { metadata, data: Some(data.into()), ..ConfigMap::default() }
}

/// What each daemon takes while nobody asks for anything.
fn idle(machines: &[Machine]) {
    std::thread::sleep(SETTLE);
    let cpu = || machines.iter().map(|machine| process::cpu(machine.daemon_id())).collect::<Vec<_>>();
    let (before, began) = (cpu(), Instant::now());
    std::thread::sleep(IDLE);
    for ((machine, before), after) in machines.iter().zip(before).zip(cpu()) {
        println!(
            "idle, {}: {:.2} % of a core, {} MiB RSS",
            machine.name(),
            after.saturating_sub(before).as_secs_f64() / began.elapsed().as_secs_f64() * 100.0,
            process::rss_mib(machine.daemon_id())
        );
    }
}

/// A snapshot of a gibibyte, put into the place of a server whose disk was lost.
fn restore() {
    let switch = Switch::new();
    let [mut first, second] = [1, 2].map(|number| switch.machine(number));
    first.start(&["server", "--agent=false"]);
    let asked = [&first; 8];
    Clients::new(&second, asked).ask(async |clients| {
        let writers = clients.into_iter().enumerate().map(|(number, client)| {
            tokio::spawn(async move {
                let api: Api<ConfigMap> = Api::default_namespaced(client);
                for at in (number..LARGE_OBJECTS).step_by(8) {
                    api.create(&PostParams::default(), &config_map(format!("large-{at}"), LARGE))
                        .await
                        .unwrap();
                }
            })
        });
        futures::future::join_all(writers).await.into_iter().for_each(Result::unwrap);
    });
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let (file, secret) = (dir.path().join("snapshot"), dir.path().join("passphrase"));
    std::fs::write(&secret, "a passphrase of the bench\n").unwrap();
    let (file, secret) = (file.to_str().unwrap(), secret.to_str().unwrap());
    let data_dir = first.data_dir();
    let data_dir = data_dir.to_str().unwrap();
    let began = Instant::now();
    let arguments = ["snapshot", "save", file, "--data-dir", data_dir];
    first.mainstay(&[&arguments[..], &["--passphrase-file", secret]].concat()).ok();
    let size = std::fs::metadata(file).unwrap().len() >> 20;
    println!("a snapshot of {size} MiB saved in {:.1?}", began.elapsed());
    first.stop();
    std::fs::remove_dir_all(data_dir).unwrap();
    let began = Instant::now();
    let arguments = ["snapshot", "restore", file, "--data-dir", data_dir];
    first.mainstay(&[&arguments[..], &["--passphrase-file", secret]].concat()).ok();
    let restored = began.elapsed();
    first.start(&["server", "--agent=false"]);
    println!("restored in {restored:.1?}, ready to serve after {:.1?} in all", began.elapsed());
    let said = first.kubectl(&["get", "configmap", "large-0", "-o", "jsonpath={.data.text}"]).ok();
    assert_eq!(said.len(), LARGE);
}
