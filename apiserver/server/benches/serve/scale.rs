//! What a large cluster costs: the server in a process of its own, the clients in this one, on the same machine.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::join_all;
use http::Method;
use mainstay_apiserver_machinery::{protobuf, schema, value};
use mainstay_proto_api::Gvk;
use mainstay_store::{Config, PutRequest, Store, Txn};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::load::{self, Outcome};
use crate::process::{SERVER, ServerProcess};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const CONNECTIONS: usize = 64;
const TIME: Duration = Duration::from_secs(8);
/// Lists of 10,000 pods, one after the other.
const LISTS: usize = 51;

/// A pod of 3.9 KB as JSON: two containers, as much status as a running one has.
fn pod(at: usize, namespaces: usize, nodes: usize) -> Value {
    let mut pod = crate::pod_json(at);
    pod["metadata"]["namespace"] = format!("ns-{}", at % namespaces).into();
    pod["spec"]["nodeName"] = format!("node-{}", at % nodes).into();
    pod["metadata"]["annotations"] = json!({"example.com/checksum": "0123456789abcdef".repeat(8),
        "example.com/config": "level=info,format=json,sampling=0.1,"[..36].repeat(8)});
    let state = |name: &str| {
        json!({"name": name, "ready": true, "started": true, "restartCount": 0, "image": format!("registry.example.com/team/{name}:1.2.3"),
            "imageID": format!("registry.example.com/team/{name}@sha256:{}", "ab".repeat(32)),
            "containerID": format!("mainstay://{}", "cd".repeat(32)), "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}})
    };
    pod["status"]["containerStatuses"] = json!([state("app"), state("sidecar")]);
    pod
}

/// Writes pods below a server that does not run, as a server would have; their mean size as JSON.
async fn seed(dir: &Path, pods: usize, namespaces: usize, nodes: usize) -> usize {
    let store =
        Store::open(Config { dir: dir.join("store"), sync: false, ..Config::default() }).await.unwrap();
    let (ty, gvk) = (schema::lookup("core/v1.Pod").unwrap(), Gvk::new("", "v1", "Pod"));
    let (mut puts, mut bytes) = (Vec::new(), 0);
    for at in 0..pods {
        let object = pod(at, namespaces, nodes);
        bytes += object.to_string().len();
        let (namespace, name) = (&object["metadata"]["namespace"], &object["metadata"]["name"]);
        let key = format!("/registry/pods/{}/{}", namespace.as_str().unwrap(), name.as_str().unwrap());
        let mut message = Vec::new();
        protobuf::encode(&value::to_value(&object).unwrap(), ty, &mut message).unwrap();
        puts.push(PutRequest::new(key, protobuf::envelope::wrap(&gvk, &message)));
        if puts.len() == 100 || at + 1 == pods {
            store.txn(Txn::default().then(std::mem::take(&mut puts))).await.unwrap();
        }
    }
    store.close().await.unwrap();
    bytes / pods
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// 100,000 pods in memory, and lists of 10,000 of them, alone and ten at once.
pub(crate) async fn pods() {
    let dir = tempfile::tempdir().unwrap();
    let size = seed(dir.path(), 100_000, 10, 5000).await;
    let started = Instant::now();
    let server = ServerProcess::start(SERVER, dir.path());
    let took = started.elapsed();
    println!(
        "100,000 pods of {size} B as JSON: {:.0} MiB RSS; started in {took:.2?}",
        mib(server.resident_bytes())
    );
    let path = "/api/v1/namespaces/ns-3/pods?resourceVersion=0";
    let mut rows = Vec::new();
    for (what, accept) in [("protobuf", PROTOBUF), ("JSON", "application/json")] {
        let mut delays = Vec::new();
        let mut bytes = 0;
        let mut connection = server.client.connect().await;
        let cpu = server.cpu();
        for _ in 0..LISTS {
            let started = Instant::now();
            bytes = connection.get(path, accept).await;
            delays.push(started.elapsed());
        }
        let cpu = (server.cpu() - cpu) * 1000.0 / LISTS as f64;
        let outcome = Outcome::of(delays, Duration::from_secs(1));
        println!(
            "list of 10,000 pods, {what}: {:.1} MiB, median {:.1?}; {cpu:.1} ms of the server's CPU each",
            mib(bytes as u64),
            outcome.p50
        );
        rows.push(accept);
    }
    let mut delays = Vec::new();
    let mut connection = server.client.connect().await;
    for node in 0..200 {
        let path = format!("/api/v1/pods?resourceVersion=0&fieldSelector=spec.nodeName%3Dnode-{node}");
        let started = Instant::now();
        connection.get(&path, PROTOBUF).await;
        delays.push(started.elapsed());
    }
    let outcome = Outcome::of(delays, Duration::from_secs(1));
    println!("list of a node's 20 pods of 100,000, protobuf: median {:.1?}", outcome.p50);
    for accept in rows {
        let before = server.resident_bytes();
        server.forget_peak();
        let lists = (0..10).map(|_| async {
            let mut connection = server.client.connect().await;
            connection.get(path, accept).await
        });
        join_all(lists).await;
        println!(
            "ten such lists at once, {accept}: {:.1} MiB more at the peak",
            mib(server.peak_bytes().saturating_sub(before))
        );
    }
    println!("then {:.0} MiB RSS", mib(server.resident_bytes()));
}

/// Gets of one object by name from 64 connections.
pub(crate) async fn get() {
    let dir = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(SERVER, dir.path());
    server
        .client
        .post(MAPS, &json!({"metadata": {"name": "m"}, "data": {"k": "v".repeat(256)}}).to_string())
        .await;
    let path = format!("{MAPS}/m");
    for (what, path) in [("from the cache", format!("{path}?resourceVersion=0")), ("consistent", path)] {
        let before = server.cpu();
        let request = move |_connection, _at| (Method::GET, path.clone(), Bytes::new());
        let outcome = load::run(&server.client, CONNECTIONS, TIME, request).await;
        let share = (server.cpu() - before) / TIME.as_secs_f64();
        let each = share / outcome.per_second * 1e6;
        println!(
            "get by name, {what}, {CONNECTIONS} connections: {outcome}; {share:.2} cores of the server, {each:.0} us each"
        );
    }
}

/// 10,000 watchers of one resource, a hundred on each connection.
pub(crate) async fn watchers() {
    const PER_CONNECTION: usize = 100;
    const WATCHERS: usize = 10_000;
    let dir = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(SERVER, dir.path());
    let idle = server.resident_bytes();
    let (sender, mut arrivals) = mpsc::channel::<Instant>(WATCHERS * 2);
    let mut tasks = Vec::new();
    for _ in 0..WATCHERS / PER_CONNECTION {
        let connection = server.client.connect_http2().await;
        for _ in 0..PER_CONNECTION {
            let mut watch =
                connection.watch(&format!("{MAPS}?watch=1&resourceVersion=0&labelSelector=bench")).await;
            let sender = sender.clone();
            tasks.push(tokio::spawn(async move {
                while watch.next_line().await.is_some() {
                    if sender.send(Instant::now()).await.is_err() {
                        return;
                    }
                }
            }));
        }
    }
    let each = (server.resident_bytes().saturating_sub(idle)) as f64 / WATCHERS as f64;
    let mut delays = Vec::new();
    for round in 0..15 {
        let object = json!({"metadata": {"name": format!("b-{round}"), "labels": {"bench": "yes"}}, "data": {"k": "v".repeat(500)}});
        let before = Instant::now();
        server.client.post(MAPS, &object.to_string()).await;
        let mut last = before;
        for _ in 0..WATCHERS {
            let arrived =
                tokio::time::timeout(Duration::from_secs(30), arrivals.recv()).await.expect("an event");
            last = last.max(arrived.unwrap());
        }
        delays.push(last - before);
    }
    let outcome = Outcome::of(delays, Duration::from_secs(1));
    println!(
        "{WATCHERS} watchers of one resource: request to last arrival median {:.1?}, worst {:.1?}; {:.1} KiB each",
        outcome.p50,
        outcome.p99,
        each / 1024.0
    );
    for task in tasks {
        task.abort();
    }
}

/// 5,000 nodes that renew their leases every ten seconds and watch their pods, with 50,000 pods stored; pods change.
pub(crate) async fn hollow(time: Duration) {
    const NODES: usize = 5000;
    const PER_CONNECTION: usize = 50;
    const BEAT: Duration = Duration::from_secs(10);
    let dir = tempfile::tempdir().unwrap();
    seed(dir.path(), 50_000, 100, NODES).await;
    let server = ServerProcess::start(SERVER, dir.path());
    let client = Arc::new(server.client.clone());
    let seen = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let mut tasks = Vec::new();
    for first in (0..NODES).step_by(PER_CONNECTION) {
        let connection = client.connect_http2().await;
        for node in first..first + PER_CONNECTION {
            let path = format!(
                "/api/v1/pods?watch=1&allowWatchBookmarks=true&resourceVersion=0&fieldSelector=spec.nodeName%3Dnode-{node}"
            );
            let mut watch = connection.watch(&path).await;
            let seen = Arc::clone(&seen);
            tasks.push(tokio::spawn(async move {
                while watch.next_line().await.is_some() {
                    seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
            }));
            let mut sender = connection.clone();
            tasks.push(tokio::spawn(async move {
                let name = format!("node-{node}");
                tokio::time::sleep(BEAT.mul_f64(node as f64 / NODES as f64)).await;
                let lease = json!({"metadata": {"name": name}, "spec": {"holderIdentity": name, "leaseDurationSeconds": 40}});
                let mut held = sender.call(Method::POST, LEASES, Bytes::from(lease.to_string())).await;
                for beat in 1..1_000_000 {
                    tokio::time::sleep(BEAT).await;
                    // As a kubelet does: what was answered before, with another time.
                    let mut lease: serde_json::Value = serde_json::from_slice(&held).unwrap();
                    lease["spec"]["renewTime"] = json!(format!("2026-01-01T00:00:00.{beat:06}Z"));
                    let path = format!("{LEASES}/{name}");
                    held = sender.call(Method::PUT, &path, Bytes::from(lease.to_string())).await;
                }
            }));
        }
    }
    tokio::time::sleep(BEAT * 2).await;
    let initial = seen.load(std::sync::atomic::Ordering::Relaxed);
    let (cpu, started) = (server.cpu(), Instant::now());
    tokio::time::sleep(time).await;
    let share = (server.cpu() - cpu) / started.elapsed().as_secs_f64();
    println!(
        "{NODES} hollow nodes, leases every {} s, a watch each, 50,000 pods, {} s: {:.1} % of a core, {:.0} MiB RSS ({initial} objects sent at first)",
        BEAT.as_secs(),
        time.as_secs(),
        share * 100.0,
        mib(server.resident_bytes())
    );
    for task in tasks {
        task.abort();
    }
}
