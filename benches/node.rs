//! One node as a benchmarker meets it: time to Ready, pod start, 100 replicas, idle cost, sizes.
//!
//! Run as root with `cargo bench --bench node` (or `make bench`); needs umoci, busybox-static and nft, as the e2e tests
//! do. The cluster lives in a temporary directory with address ranges of its own and is taken down at the end.

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

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};

const PODS: usize = 40;
const REPLICAS: i32 = 100;
const IDLE: Duration = Duration::from_secs(300);

struct Node {
    dir: tempfile::TempDir,
    daemon: Option<Child>,
}

impl Node {
    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Starts the daemon; the milliseconds that it says it took.
    fn up(&mut self) -> u64 {
        let log = self.dir.path().join("log");
        let file = fs::File::create(&log).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
        command.args(["up", "--bind", "127.0.0.1:17443", "--node-name", "bench"]);
        command.args(["--cluster-cidr", "10.120.0.0/16", "--service-cidr", "10.121.0.0/16", "--data-dir"]);
        command.arg(self.data()).stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        self.daemon = Some(command.spawn().unwrap());
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(60) {
            let text = fs::read_to_string(&log).unwrap();
            if let Some(line) = text.lines().find_map(|line| line.strip_prefix("ready in ")) {
                return line.trim_end_matches(" ms").parse().unwrap();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("not ready: {}", fs::read_to_string(&log).unwrap());
    }

    fn stop(&mut self) {
        let mut daemon = self.daemon.take().unwrap();
        rustix::process::kill_process(
            rustix::process::Pid::from_child(&daemon),
            rustix::process::Signal::TERM,
        )
        .unwrap();
        assert!(daemon.wait().unwrap().success());
    }

    fn run(&self, arguments: &[&str]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
        let output = command.args(arguments).arg("--data-dir").arg(self.data()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    fn pid(&self) -> u32 {
        self.daemon.as_ref().unwrap().id()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
        let output = command.arg("down").arg("--data-dir").arg(self.data()).output();
        if !output.as_ref().is_ok_and(|output| output.status.success()) {
            eprintln!("mainstay down failed: {output:?}");
        }
        if let Some(mut daemon) = self.daemon.take() {
            drop(daemon.wait());
        }
    }
}

fn main() {
    let mut node = Node { dir: tempfile::tempdir_in("/var/tmp").unwrap(), daemon: None };
    println!("first start to Ready: {} ms", node.up());
    node.stop();
    let mut starts: Vec<_> = (0..5)
        .map(|_| {
            let took = node.up();
            node.stop();
            took
        })
        .collect();
    starts.sort_unstable();
    println!(
        "start with an existing data directory to Ready: median {} ms of {starts:?}",
        starts[starts.len() / 2]
    );
    node.up();
    let archive = node.dir.path().join("hello.tar");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/hello/image");
    let name = "docker.io/library/mainstay-hello:1";
    assert!(Command::new(script).arg(&archive).arg(name).stdout(Stdio::null()).status().unwrap().success());
    node.run(&["image", "import", archive.to_str().unwrap()]);

    rustls::crypto::ring::default_provider().install_default().unwrap();
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio.block_on(async {
        let kubeconfig = Kubeconfig::read_from(node.data().join("admin.kubeconfig")).unwrap();
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        let client = Client::try_from(config).unwrap();
        one_at_a_time(&client).await;
        many_replicas(&client).await;
    });
    idle(node.pid());
    let binary = fs::metadata(env!("CARGO_BIN_EXE_mainstay")).unwrap().len();
    println!("binary: {} MiB", binary >> 20);
}

/// A container that starts at once and ends at once when asked.
fn container() -> serde_json::Value {
    serde_json::json!({
        "name": "c", "image": "mainstay-hello:1", "imagePullPolicy": "Never",
        "command": ["sh", "-c", "trap 'exit 0' TERM; while true; do sleep 3600 & wait; done"]
    })
}

async fn one_at_a_time(client: &Client) {
    let api: Api<Pod> = Api::default_namespaced(client.clone());
    let mut times = Vec::new();
    for index in 0..PODS {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": format!("pod-{index}")},
            "spec": {"containers": [container()], "terminationGracePeriodSeconds": 1}
        }))
        .unwrap();
        let created = api.create(&PostParams::default(), &pod).await.unwrap();
        let accepted = Instant::now();
        let params = WatchParams::default().fields(&format!("metadata.name=pod-{index}")).timeout(60);
        let version = created.metadata.resource_version.unwrap();
        let mut watch = std::pin::pin!(api.watch(&params, &version).await.unwrap());
        while let Some(event) = watch.try_next().await.unwrap() {
            if matches!(&event, WatchEvent::Modified(pod) if is_ready(pod)) {
                break;
            }
        }
        times.push(accepted.elapsed().as_millis());
        api.delete(&format!("pod-{index}"), &DeleteParams::default()).await.unwrap();
    }
    times.sort_unstable();
    let (p50, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    println!(
        "pod start, create accepted to Ready seen by a watcher, one at a time, {PODS} pods: p50 {p50} ms, p99 {p99} ms"
    );
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

async fn many_replicas(client: &Client) {
    let api: Api<Deployment> = Api::default_namespaced(client.clone());
    let deployment: Deployment = serde_json::from_value(serde_json::json!({
        "metadata": {"name": "many"},
        "spec": {
            "replicas": REPLICAS, "selector": {"matchLabels": {"app": "many"}},
            "template": {
                "metadata": {"labels": {"app": "many"}},
                "spec": {"containers": [container()], "terminationGracePeriodSeconds": 1}
            }
        }
    }))
    .unwrap();
    let created = api.create(&PostParams::default(), &deployment).await.unwrap();
    let accepted = Instant::now();
    let version = created.metadata.resource_version.unwrap();
    let mut watch = std::pin::pin!(api.watch(&WatchParams::default().timeout(200), &version).await.unwrap());
    while let Some(event) = watch.try_next().await.unwrap() {
        if matches!(&event, WatchEvent::Modified(d) if d.status.as_ref().and_then(|s| s.ready_replicas) == Some(REPLICAS))
        {
            break;
        }
    }
    println!("{REPLICAS} replicas of one Deployment all Ready: {} ms", accepted.elapsed().as_millis());
    println!("shim: {} KiB PSS (median)", shim_pss());
    let params = kube::api::Patch::Merge(serde_json::json!({"spec": {"replicas": 3}}));
    api.patch("many", &kube::api::PatchParams::default(), &params).await.unwrap();
}

/// The median proportional set size of the pods' shims.
fn shim_pss() -> u64 {
    let mut sizes: Vec<u64> = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|entry| {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).nth(1) == Some(mainstay_runtime::SHIM_COMMAND.as_bytes())
        })
        .filter_map(|entry| {
            let text = fs::read_to_string(entry.path().join("smaps_rollup")).ok()?;
            text.lines().find_map(|line| line.strip_prefix("Pss:"))?.split_whitespace().next()?.parse().ok()
        })
        .collect();
    sizes.sort_unstable();
    sizes.get(sizes.len() / 2).copied().unwrap_or_default()
}

/// CPU and memory of the daemon while nothing happens but three pods.
fn idle(pid: u32) {
    std::thread::sleep(Duration::from_secs(10)); // the scaled down pods end first
    let before = cpu_ticks(pid);
    std::thread::sleep(IDLE);
    let ticks = cpu_ticks(pid) - before;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let resident: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let share = ticks as f64 / rustix::param::clock_ticks_per_second() as f64 / IDLE.as_secs_f64() * 100.0;
    println!("idle with 3 pods for {} s: {share:.2} % of a core, {} MiB RSS", IDLE.as_secs(), resident >> 10);
}

fn cpu_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
