//! A drill: something goes wrong with one machine under load, is mended, and is judged, always in the same way.

use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, Patch, PatchParams};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::clients::Clients;
use crate::cluster::{Cluster, SOON, pause};
use crate::load::Load;
use crate::machine::Machine;

/// Which server, given the one that leads the store.
pub(crate) type Victim = fn(&Cluster, usize) -> usize;

/// Whether something is so of a cluster and the server that a drill is about.
pub(crate) type Holds = fn(&Cluster, usize) -> bool;

/// What can go wrong with a server.
pub(crate) struct Drill {
    /// Short, as a label's value.
    pub(crate) name: &'static str,
    /// To whom.
    pub(crate) victim: Victim,
    /// The fault.
    pub(crate) strike: fn(&mut Cluster, usize),
    /// How long it lasts at least.
    pub(crate) lasts: Duration,
    /// What else must hold meanwhile, and within [`SOON`].
    pub(crate) meanwhile: Option<(&'static str, Holds)>,
    /// Ends it.
    pub(crate) mend: fn(&mut Cluster, usize),
}

/// Writes must be taken again, and controllers act again, within this on any machine; the figures are for a quiet one.
const BOUND: Duration = Duration::from_secs(20);

/// What an agent logs when it goes to another server.
const MOVED: &str = "another API server is in use";

/// What a drill took.
pub(crate) struct Measured {
    /// The longest time without an acknowledged write.
    pub(crate) pause: Duration,
    /// From the fault until a deployment that was scaled had its pod placed.
    pub(crate) acted: Duration,
    /// From the fault until the last of the workers that left their server was at another one; none if they all stayed.
    pub(crate) moved: Option<Duration>,
}

impl Drill {
    /// Carries it out, prints what was measured, and fails where something was lost, told twice or restarted.
    #[track_caller]
    pub(crate) fn carry_out(&self, cluster: &mut Cluster, round: usize) -> Measured {
        let name = self.name;
        let leader = cluster.leader(0);
        let victim = (self.victim)(cluster, leader);
        let survivor = (victim + 1) % 3;
        let before = cluster.containers(survivor);
        let load = Load::start(&format!("{name}-{round}"), &cluster.workers[0], &cluster.servers);
        pause(Duration::from_millis(500));
        let (struck, struck_at) = (Instant::now(), OffsetDateTime::now_utc());
        (self.strike)(cluster, victim);
        let acted = acted(cluster, survivor, name);
        assert!(acted < BOUND, "{name}: controllers acted after {acted:?}");
        if let Some((what, holds)) = self.meanwhile {
            cluster.until(&format!("{name}: {what}"), |cluster| holds(cluster, victim));
        }
        pause(self.lasts.saturating_sub(struck.elapsed()));
        (self.mend)(cluster, victim);
        let took = cluster.until(&format!("{name}: it is one of three again"), |cluster| {
            let is_ready = cluster.servers[victim].kubectl(&["get", "--raw", "/readyz"]).code == 0;
            is_ready && (0..3).all(|at| cluster.listed(at) == 3)
        });
        let figures = load.end();
        let pause = figures.pause_after(struck);
        let moved = moved(&cluster.workers, struck_at);
        println!(
            "{name:<22} ({}) writes paused {:>5} ms, controllers acted after {:>5} ms, agents {}, one of three again after {:>5} ms; {} writes",
            if victim == leader { "leads" } else { "follows" },
            pause.as_millis(),
            acted.as_millis(),
            moved.map_or_else(
                || "stayed".to_owned(),
                |moved| format!("moved within {:>5} ms", moved.as_millis())
            ),
            took.as_millis(),
            figures.writes()
        );
        assert!(pause < BOUND, "{name}: writes paused for {pause:?}");
        assert!(moved.is_none_or(|moved| moved < BOUND), "{name}: agents moved after {moved:?}");
        rest(cluster, survivor);
        assert_eq!(
            cluster.containers(survivor),
            before,
            "{name}: no container is another one, or was restarted"
        );
        Measured { pause, acted, moved }
    }
}

/// How long after a fault the last of the workers that moved was at another server; what it logged later is of something else.
fn moved(workers: &[Machine], struck: OffsetDateTime) -> Option<Duration> {
    let first = |worker: &Machine| {
        let log = std::fs::read_to_string(worker.log()).unwrap();
        let moves = log.lines().filter(|line| line.contains(MOVED));
        let times = moves.filter_map(|line| OffsetDateTime::parse(line.split(' ').next()?, &Rfc3339).ok());
        let at = times.into_iter().find(|at| *at > struck)?;
        Duration::try_from(at - struck).ok()
    };
    workers.iter().filter_map(first).max()
}

/// Scales a deployment through one server; how long it took until its pod had a node.
fn acted(cluster: &Cluster, at: usize, drill: &str) -> Duration {
    let began = Instant::now();
    let clients = Clients::new(&cluster.workers[1], &cluster.servers[at..=at]);
    clients.ask(async |servers| {
        scale(&servers[0], 1).await;
        let pods: Api<Pod> = Api::default_namespaced(servers[0].clone());
        let bound = async {
            loop {
                let list = pods.list(&ListParams::default().labels("app=scaled")).await;
                let has_node = |pod: &Pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
                if list.is_ok_and(|list| list.items.iter().any(has_node)) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let bound = tokio::time::timeout(SOON, bound).await;
        bound.unwrap_or_else(|_| panic!("{drill}: a deployment that is scaled gets no pod with a node"));
    });
    began.elapsed()
}

async fn scale(client: &kube::Client, replicas: u32) {
    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    let patch = serde_json::json!({"spec": {"replicas": replicas}});
    let scaled = async {
        let params = PatchParams::default();
        while deployments.patch("scaled", &params, &Patch::Merge(&patch)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, scaled).await.expect("a deployment can be scaled");
}

/// Takes the pods of [`acted`] away again.
fn rest(cluster: &Cluster, at: usize) {
    let clients = Clients::new(&cluster.workers[1], &cluster.servers[at..=at]);
    clients.ask(async |servers| scale(&servers[0], 0).await);
    cluster.until("what was scaled is gone", |cluster| {
        let said = cluster.servers[at].kubectl(&["get", "pods", "-l", "app=scaled", "-o", "name"]);
        said.code == 0 && said.stdout.trim().is_empty()
    });
}
