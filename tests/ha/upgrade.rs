//! A cluster goes to a program of the next minor version, server by server and worker by worker, under load: what runs is not restarted,
//! what is asked works at the second try at the latest, and what all must know waits for the last of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ObjectMeta, PostParams};

use crate::authority::rotate;
use crate::clients::Clients;
use crate::cluster::{Cluster, Containers, pause};
use crate::load::Load;
use crate::machine::Machine;

/// The program under test.
const NEW: &str = env!("CARGO_PKG_VERSION");
/// One minor version before it.
const OLD: &str = "0.0.7";
/// One after it.
const NEXT: &str = "0.2.0";
/// A request that takes longer has failed. What waits for another leader is answered within it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Writes and reads through all servers in turn. Each request has one retry, at the next server.
struct Retrier {
    stop: Arc<AtomicBool>,
    /// How many requests were made, and how many needed the retry.
    thread: JoinHandle<(usize, usize)>,
}

impl Retrier {
    fn start(from: &Machine, servers: &[Machine]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, clients) = (Arc::clone(&stop), Clients::new(from, servers));
        let thread = std::thread::spawn(move || clients.run(async |servers| ask(&servers, &stopped).await));
        Self { stop, thread }
    }

    #[track_caller]
    fn end(self) -> (usize, usize) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}

async fn ask(servers: &[kube::Client], stop: &AtomicBool) -> (usize, usize) {
    let maps: Vec<Api<ConfigMap>> = servers.iter().cloned().map(Api::default_namespaced).collect();
    let (mut asked, mut retried) = (0, 0);
    while !stop.load(Ordering::SeqCst) {
        let (first, second) = (&maps[asked % maps.len()], &maps[(asked + 1) % maps.len()]);
        let name = format!("asked-{asked}");
        if let Err(why) = write(first, &name).await {
            retried += 1;
            // The answer may have been lost, and not the write.
            let again = write(second, &name).await;
            let is_there = again.as_ref().is_err_and(|why| why.contains("AlreadyExists"));
            assert!(again.is_ok() || is_there, "{name} was written by no retry: {why}; {again:?}");
        }
        if let Err(why) = read(second, &name).await {
            retried += 1;
            let again = read(first, &name).await;
            assert!(again.is_ok(), "{name} was read by no retry: {why}; {again:?}");
        }
        asked += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    (2 * asked, retried)
}

async fn write(maps: &Api<ConfigMap>, name: &str) -> Result<(), String> {
    let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    let map = ConfigMap { metadata, ..ConfigMap::default() };
    said(maps.create(&PostParams::default(), &map)).await
}

async fn read(maps: &Api<ConfigMap>, name: &str) -> Result<(), String> {
    said(maps.get(name)).await
}

async fn said<T>(answer: impl Future<Output = kube::Result<T>>) -> Result<(), String> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answer) => answer.map(drop).map_err(|why| format!("{why:?}")),
        Err(_) => Err(format!("no answer within {PATIENCE:?}")),
    }
}

fn status(at: &Machine) -> String {
    at.mainstay(&["status", "--data-dir", at.data_dir().to_str().unwrap()]).stdout
}

/// Each container is the one that it was, and every server leads to it.
#[track_caller]
fn pods_run_on(cluster: &Cluster, before: &Containers) {
    for (at, server) in cluster.servers.iter().enumerate() {
        assert_eq!(&cluster.containers(at), before, "no container is another one, or was restarted");
        for pod in before.keys() {
            assert_eq!(server.kubectl(&["exec", pod, "--", "echo", "hello"]).ok(), "hello\n");
        }
    }
}

/// What all must know is refused, with those who do not.
#[track_caller]
fn waits_for(cluster: &Cluster, old: &[&str]) {
    let refused = rotate(&cluster.servers[0], &[]);
    assert_eq!(refused.code, 2, "{refused:?}");
    let why = "needs 0.1 or later on all machines; older are ";
    let told = refused.stderr.split_once(why).map(|(_, told)| told.split(": ").next().unwrap());
    let mut told: Vec<&str> = told.unwrap_or_else(|| panic!("{refused:?}")).split(", ").collect();
    told.sort_unstable();
    assert_eq!(told, old.iter().map(|name| format!("{name} ({OLD})")).collect::<Vec<_>>());
}

#[test]
fn machine_by_machine_a_cluster_goes_to_the_next_version_and_nothing_is_restarted_or_lost() {
    assert!(NEW.starts_with("0.1."), "{OLD} is one minor version before {NEW}, {NEXT} one after it");
    let mut cluster = Cluster::start_of("50s", Some(OLD));
    assert_eq!(cluster.web().len(), 3);
    let before = cluster.containers(0);
    waits_for(&cluster, &["m1", "m2", "m3", "m4", "m5"]);
    let load = Load::start("upgrade", &cluster.workers[0], &cluster.servers);
    let retrier = Retrier::start(&cluster.workers[1], &cluster.servers);

    upgrade_servers(&mut cluster, &before);
    waits_for(&cluster, &["m4", "m5"]);
    for at in 0..cluster.workers.len() {
        let worker = &mut cluster.workers[at];
        worker.install(NEW);
        worker.stop();
        for milliseconds in [80, 300, 700] {
            worker.spawn(&["agent"]);
            pause(Duration::from_millis(milliseconds));
            worker.kill();
        }
        worker.start(&["agent"]);
        let path = format!(
            "jsonpath={{.items[?(@.status.nodeInfo.kubeletVersion=='v1.37.0+mainstay-{NEW}')].metadata.name}}"
        );
        let new = ["m3", "m4", "m5"][..at + 2].join(" ");
        cluster.until("nodes say their version", |cluster| {
            cluster.servers[1].kubectl(&["get", "nodes", "-o", &path]).stdout == new
        });
        pods_run_on(&cluster, &before);
    }
    let (asked, again) = retrier.end();
    println!("{asked} requests, {again} of them needed their retry");
    assert!(asked > 100, "it was under load: {asked} requests");
    println!("{} writes meanwhile, and no watcher missed one", load.end().writes());

    // All are new: now it can be done, and an old one must not come back before it has ended.
    cluster.until("what all must know is used", |cluster| rotate(&cluster.servers[0], &[]).code == 0);
    cluster.servers[0].stop();
    cluster.servers[0].install(OLD);
    let refused = cluster.server_fails(0);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("under way in this cluster, and needs 0.1 or later"), "{refused:?}");
    cluster.servers[0].install(NEW);
    cluster.start_server(0);
    pods_run_on(&cluster, &before);
}

/// One after the other. One that skips a version on the way is refused, and is what it was.
#[track_caller]
fn upgrade_servers(cluster: &mut Cluster, before: &Containers) {
    for at in 0..3 {
        cluster.servers[at].install(if at == 1 { NEXT } else { NEW });
        // The old daemon runs on, from a file that has no name any more.
        pods_run_on(cluster, before);
        cluster.servers[at].stop();
        if at == 1 {
            let refused = cluster.server_fails(at);
            assert_eq!(refused.code, 2, "{refused:?}");
            let why = format!("mainstay {NEXT} cannot run beside m3, which has {OLD}");
            assert!(refused.stderr.contains(&why), "{refused:?}");
            cluster.servers[at].install(NEW);
        }
        if at == 2 {
            cluster.kill_while_it_starts(at);
        }
        cluster.start_server(at);
        cluster.until("it is one of three again", |cluster| (0..3).all(|one| cluster.listed(one) == 3));
        let new = (0..3).all(|one| {
            let version = if one <= at { NEW } else { OLD };
            let said = status(&cluster.servers[(at + 1) % 3]);
            said.lines().any(|line| {
                line.starts_with(&format!("server m{} at", one + 1))
                    && line.ends_with(&format!(", mainstay {version}"))
            })
        });
        assert!(new, "{}", status(&cluster.servers[at]));
        pods_run_on(cluster, before);
    }
    let versions = |cluster: &Cluster| cluster.servers[2].kubectl(&["get", "--raw", "/version"]).ok();
    assert!(versions(cluster).contains(&format!("+mainstay.{NEW}")), "{}", versions(cluster));
}
