//! What serving costs. `cargo bench -p mainstay-apiserver-server --bench serve -- WHAT…`:
//!
//! - `watch`, `memory`: delivery to 1, 100 and 1,000 HTTPS watchers, and memory per cached pod. One process holds server,
//!   store and clients, so these are upper bounds.
//! - `pods`, `create`, `get`, `watchers`: a large cluster's figures, with the server in a process of its own.
//! - `hollow [SECONDS]`: 5,000 nodes that only heartbeat, for ten minutes when nothing else is said.
//!
//! All but `hollow` without an argument.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench reports and stops at faults"
)]
#![allow(clippy::disallowed_methods, reason = "a bench measures real time and joins its tasks itself")]
#![allow(
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures"
)]

mod creates;
mod harness;
mod load;
mod process;
mod scale;

use std::time::{Duration, Instant};

use mainstay_apiserver_machinery::{protobuf, schema, value};
use mainstay_proto_api::Gvk;
use mainstay_store::{PutRequest, Txn};
use serde_json::json;
use tokio::sync::mpsc;

use crate::harness::{Client, Server};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const ROUNDS: usize = 50;
const PODS: usize = 100_000;

/// As the binary has it.
#[used]
static ALLOCATOR: &(dyn std::alloc::GlobalAlloc + Sync) = &mimalloc::MiMalloc;

fn main() {
    let which: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    if let [what @ (process::SERVER | process::STORE), dir] =
        which.iter().map(String::as_str).collect::<Vec<_>>().as_slice()
    {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        return runtime.block_on(process::serve(what, dir.as_ref()));
    }
    let wants = |name: &str| which.is_empty() || which.iter().any(|w| w == name);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if wants("watch") {
        for watchers in [1, 100, 1000] {
            runtime.block_on(watch_delivery(watchers));
        }
    }
    if wants("memory") {
        runtime.block_on(memory_per_pod());
    }
    if wants("pods") {
        runtime.block_on(scale::pods());
    }
    if wants("create") {
        runtime.block_on(creates::create());
    }
    if wants("get") {
        runtime.block_on(scale::get());
    }
    if wants("watchers") {
        runtime.block_on(scale::watchers());
    }
    if let Some(at) = which.iter().position(|w| w == "hollow") {
        let seconds = which.get(at + 1).and_then(|text| text.parse().ok()).unwrap_or(600);
        runtime.block_on(scale::hollow(Duration::from_secs(seconds)));
    }
}

async fn watch_delivery(watchers: usize) {
    let server = Server::start().await;
    let client = server.client.clone();
    let (sender, mut arrivals) = mpsc::channel::<(String, Instant)>(watchers * 4);
    let mut tasks = Vec::new();
    let before = resident_bytes();
    for _ in 0..watchers {
        let mut stream = client.watch(&format!("{MAPS}?watch=1&resourceVersion=0&labelSelector=bench")).await;
        let sender = sender.clone();
        tasks.push(tokio::spawn(async move {
            while let Some(event) = stream.next_line().await {
                let event: serde_json::Value = serde_json::from_slice(&event).unwrap();
                let name = event["object"]["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                if sender.send((name, Instant::now())).await.is_err() {
                    return;
                }
            }
        }));
    }
    let per_watch = resident_bytes().saturating_sub(before) / watchers as u64;
    let mut delays = Vec::with_capacity(ROUNDS * watchers);
    for round in 0..ROUNDS {
        let name = format!("bench-{round}");
        let object =
            json!({"metadata": {"name": name, "labels": {"bench": "yes"}}, "data": {"k": "v".repeat(500)}});
        client.post(MAPS, &object.to_string()).await;
        let answered = Instant::now();
        for _ in 0..watchers {
            let (seen, at) = tokio::time::timeout(Duration::from_secs(30), arrivals.recv())
                .await
                .expect("an event")
                .unwrap();
            assert_eq!(seen, name, "every watcher sees every event once");
            delays.push(at.saturating_duration_since(answered).as_secs_f64() * 1000.0);
        }
    }
    delays.sort_by(f64::total_cmp);
    println!(
        "watch delivery, {watchers:>5} watchers: p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms; {} KiB per watch, both ends",
        delays[delays.len() / 2],
        delays[delays.len() * 99 / 100],
        delays[delays.len() - 1],
        per_watch / 1024
    );
    for task in tasks {
        task.abort();
    }
    server.stop().await;
}

/// A pod of about 1.9 KiB, as a Deployment's pods are.
fn pod(at: usize) -> value::Value {
    value::to_value(&pod_json(at)).unwrap()
}

fn pod_json(at: usize) -> serde_json::Value {
    let name = format!("web-{:08x}-{at:05}", at / 10);
    let container = |name: &str| {
        json!({"name": name, "image": format!("registry.example.com/team/{name}:1.2.3"), "imagePullPolicy": "IfNotPresent",
            "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
            "env": [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}}, {"name": "LEVEL", "value": "info"}],
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
            "volumeMounts": [{"name": "kube-api-access", "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}],
            "livenessProbe": {"httpGet": {"path": "/healthz", "port": 8080, "scheme": "HTTP"}, "periodSeconds": 10, "timeoutSeconds": 1, "successThreshold": 1, "failureThreshold": 3},
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"})
    };
    let condition =
        |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": format!("ns-{}", at % 100), "generateName": "web-", "uid": format!("{at:08x}-1111-4111-8111-111111111111"),
            "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"app": "web", "pod-template-hash": "5d4f8c7b9", "tier": "front"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d4f8c7b9", "uid": "22222222-2222-4222-8222-222222222222", "controller": true, "blockOwnerDeletion": true}]},
        "spec": {"containers": [container("app"), container("sidecar")], "nodeName": format!("node-{}", at % 50), "restartPolicy": "Always", "dnsPolicy": "ClusterFirst",
            "serviceAccountName": "default", "serviceAccount": "default", "schedulerName": "default-scheduler", "terminationGracePeriodSeconds": 30,
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]},
        "status": {"phase": "Running", "hostIP": "10.0.0.1", "podIP": "10.244.1.17", "startTime": "2026-01-01T00:00:00Z", "qosClass": "Burstable",
            "conditions": [condition("Initialized"), condition("Ready"), condition("ContainersReady"), condition("PodScheduled")]}})
}

async fn memory_per_pod() {
    let server = Server::start().await;
    let ty = schema::lookup("core/v1.Pod").unwrap();
    let gvk = Gvk::new("", "v1", "Pod");
    let mut total = 0;
    let mut puts = Vec::new();
    let store = server.store.clone();
    let before = resident_bytes();
    let started = Instant::now();
    for at in 0..PODS {
        let object = pod(at);
        let mut message = Vec::new();
        protobuf::encode(&object, ty, &mut message).unwrap();
        total += message.len();
        let key = format!(
            "/registry/pods/{}/{}",
            object.path_str(&["metadata", "namespace"]).unwrap(),
            object.path_str(&["metadata", "name"]).unwrap()
        );
        puts.push(PutRequest::new(key, protobuf::envelope::wrap(&gvk, &message)));
        if puts.len() == 100 {
            store.txn(Txn::default().then(std::mem::take(&mut puts))).await.unwrap();
        }
    }
    server.api.registry().fresh().await.unwrap();
    let loaded = started.elapsed();
    let used = resident_bytes().saturating_sub(before);
    let mean = total as f64 / PODS as f64;
    let per_pod = used as f64 / PODS as f64;
    println!(
        "memory, {PODS} pods: {mean:.0} B as protobuf, {per_pod:.0} B cached: {:.2} times (store included); written and cached in {:.1} s",
        per_pod / mean,
        loaded.as_secs_f64()
    );
    let client: Client = server.client.clone();
    for (what, accept) in [("protobuf", "application/vnd.kubernetes.protobuf"), ("JSON", "application/json")]
    {
        let started = Instant::now();
        let bytes = client.get("/api/v1/pods?resourceVersion=0", accept).await;
        println!(
            "list of {PODS} pods, {what}: {} MiB in {:.2} s",
            bytes >> 20,
            started.elapsed().as_secs_f64()
        );
    }
    server.stop().await;
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}
