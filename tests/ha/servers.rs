//! What can go wrong with one server, and that the others go on.

use std::time::Duration;

use rustix::process::Signal;

use crate::cluster::{Cluster, answers};
use crate::drill::{Drill, Measured, Victim};

/// The server that leads.
const LEADER: Victim = |_, leader| leader;
/// One that follows.
const FOLLOWER: Victim = |_, leader| (leader + 1) % 3;
/// The leader if it runs no pods, which would not outlive its disk.
const WITHOUT_PODS: Victim = |_, leader| leader % 2;
/// The one whose controllers act.
const ACTS: Victim = |cluster, _| cluster.holder();

const DRILLS: [Drill; 14] = [
    Drill {
        name: "leader-killed",
        victim: LEADER,
        strike: |cluster, at| cluster.servers[at].kill(),
        lasts: Duration::from_secs(1),
        meanwhile: Some(("it is not listed any more", |cluster, at| cluster.listed((at + 1) % 3) == 2)),
        mend: Cluster::start_server,
    },
    Drill {
        name: "leader-stopped",
        victim: LEADER,
        strike: |cluster, at| cluster.servers[at].signal(Signal::STOP),
        lasts: Duration::from_secs(4),
        meanwhile: None,
        mend: |cluster, at| cluster.servers[at].signal(Signal::CONT),
    },
    Drill {
        name: "leader-cut-off",
        victim: LEADER,
        strike: |cluster, at| cluster.servers[at].cable(false),
        lasts: Duration::from_secs(4),
        meanwhile: Some(("it refuses writes", |cluster, at| {
            cluster.servers[at].kubectl(&["create", "configmap", "from-the-minority"]).code != 0
        })),
        mend: |cluster, at| cluster.servers[at].cable(true),
    },
    Drill {
        name: "follower-cut-off",
        victim: FOLLOWER,
        strike: |cluster, at| cluster.servers[at].cable(false),
        lasts: Duration::from_secs(4),
        meanwhile: None,
        mend: |cluster, at| cluster.servers[at].cable(true),
    },
    Drill {
        name: "leader-is-not-heard",
        victim: LEADER,
        strike: |cluster, at| {
            cluster.servers[at]
                .lose("output", "oifname eth0 ip daddr { 10.213.0.1, 10.213.0.2, 10.213.0.3 }");
        },
        lasts: Duration::from_secs(4),
        meanwhile: None,
        mend: |cluster, at| cluster.servers[at].lose_nothing(),
    },
    Drill {
        name: "follower-does-not-hear",
        victim: FOLLOWER,
        strike: |cluster, at| {
            cluster.servers[at].lose("input", "iifname eth0 ip saddr { 10.213.0.1, 10.213.0.2, 10.213.0.3 }");
        },
        lasts: Duration::from_secs(4),
        meanwhile: None,
        mend: |cluster, at| cluster.servers[at].lose_nothing(),
    },
    Drill {
        // Its agent goes on through another server.
        name: "only-the-store-cut-off",
        victim: |_, _| 2,
        strike: |cluster, at| {
            cluster.servers[at].lose("input", "tcp dport 2380");
            cluster.servers[at].lose("output", "tcp dport 2380");
        },
        lasts: Duration::from_secs(4),
        meanwhile: Some(("its node starts pods", starts_a_pod)),
        mend: |cluster, at| cluster.servers[at].lose_nothing(),
    },
    Drill {
        name: "disk-hangs",
        victim: WITHOUT_PODS,
        strike: |cluster, at| cluster.servers[at].disk().freeze(),
        lasts: Duration::from_secs(4),
        meanwhile: None,
        mend: |cluster, at| cluster.servers[at].disk().thaw(),
    },
    Drill {
        name: "network-is-lossy",
        victim: LEADER,
        strike: |cluster, at| {
            cluster.servers[at].lose("input", "iifname eth0 numgen random mod 100 < 10");
        },
        lasts: Duration::from_secs(5),
        meanwhile: None,
        mend: |cluster, at| cluster.servers[at].lose_nothing(),
    },
    Drill {
        name: "clock-jumps",
        victim: ACTS,
        strike: |cluster, at| cluster.servers[at].clock().jump(3600),
        lasts: Duration::from_secs(4),
        meanwhile: None,
        mend: |cluster, at| cluster.servers[at].clock().jump_back(),
    },
    Drill {
        name: "disk-is-slow",
        victim: WITHOUT_PODS,
        strike: |cluster, at| cluster.servers[at].slow_disk(),
        lasts: Duration::from_secs(4),
        meanwhile: None,
        mend: |cluster, at| cluster.servers[at].disk().be_quick(),
    },
    Drill {
        name: "disk-is-full",
        victim: WITHOUT_PODS,
        strike: |cluster, at| cluster.servers[at].disk().fill(),
        lasts: Duration::from_secs(4),
        meanwhile: None,
        mend: |cluster, at| cluster.servers[at].disk().free(),
    },
    Drill {
        name: "power-cut",
        victim: WITHOUT_PODS,
        strike: |cluster, at| cluster.servers[at].cut_power(),
        lasts: Duration::from_secs(1),
        meanwhile: None,
        mend: |cluster, at| {
            cluster.servers[at].disk().restore_power();
            cluster.start_server(at);
        },
    },
    Drill {
        name: "leader-ends-in-order",
        victim: LEADER,
        strike: |cluster, at| cluster.servers[at].stop(),
        lasts: Duration::from_secs(1),
        meanwhile: None,
        mend: Cluster::start_server,
    },
];

/// A pod that is bound to the machine's node runs. Made once, gone with the cluster.
fn starts_a_pod(cluster: &Cluster, at: usize) -> bool {
    let other = &cluster.servers[(at + 1) % 3];
    let image = crate::machine::IMAGE;
    let manifest = format!(
        r#"{{"apiVersion": "v1", "kind": "Pod", "metadata": {{"name": "bound"}}, "spec": {{"nodeName": "{}", "terminationGracePeriodSeconds": 0,
        "containers": [{{"name": "bound", "image": "{image}", "imagePullPolicy": "Never", "command": ["sleep", "1000000"]}}]}}}}"#,
        cluster.servers[at].name()
    );
    other.kubectl_with(&["apply", "-f", "-"], &manifest).ok();
    other.kubectl(&["get", "pod", "bound", "-o", "jsonpath={.status.phase}"]).ok() == "Running"
}

#[test]
fn three_servers_survive_what_one_of_them_can_do_wrong() {
    let mut cluster = Cluster::start("50s"); // upstream's grace for nodes
    let pods = cluster.web();
    assert_eq!(pods.len(), 3);
    let ranges: std::collections::BTreeSet<&str> =
        pods.iter().map(|pod| pod.rsplit_once('.').unwrap().0).collect();
    assert_eq!(ranges.len(), 3, "each node has a range of its own: {pods:?}");
    cluster.until("every machine reaches every pod", |cluster| {
        let machines = || cluster.servers.iter().chain(&cluster.workers);
        pods.iter().all(|pod| machines().all(|from| answers(from, pod, 8080)))
    });
    let service =
        cluster.servers[0].kubectl(&["get", "service", "web", "-o", "jsonpath={.spec.clusterIP}"]).ok();
    cluster
        .until("every node has its proxy", |cluster| cluster.nodes().all(|node| answers(node, &service, 80)));
    any_kubeconfig_leads_to_any_server(&cluster);
    // MAINSTAY_DRILL_ROUNDS=10 is for figures; with MAINSTAY_TEST_BINARY=target/release/mainstay for those of a release build.
    let rounds = std::env::var_os("MAINSTAY_DRILL_ROUNDS");
    let rounds: usize = rounds.map_or(1, |rounds| rounds.to_str().unwrap().parse().unwrap());
    println!(
        "| what goes wrong | writes paused, ms: median / worst | controllers acted after | agents moved within |"
    );
    for drill in &DRILLS {
        let measured: Vec<Measured> = (0..rounds).map(|round| drill.carry_out(&mut cluster, round)).collect();
        if rounds > 1 {
            let pause = median_and_worst(&measured, |one| Some(one.pause));
            let acted = median_and_worst(&measured, |one| Some(one.acted));
            let moved = median_and_worst(&measured, |one| one.moved);
            println!("| {} | {pause} | {acted} | {moved} |", drill.name);
        }
    }
    let nodes =
        cluster.servers[0].kubectl(&["get", "events", "-A", "--field-selector=reason=NodeNotReady"]).ok();
    assert_eq!(nodes, "", "no node was given up");
}

/// In milliseconds, of those rounds that have the figure.
fn median_and_worst(measured: &[Measured], figure: fn(&Measured) -> Option<Duration>) -> String {
    let mut figures: Vec<u128> = measured.iter().filter_map(figure).map(|time| time.as_millis()).collect();
    figures.sort_unstable();
    match (figures.get(figures.len() / 2), figures.last()) {
        (Some(median), Some(worst)) => format!("{median} / {worst}"),
        _ => "—".to_owned(),
    }
}

fn any_kubeconfig_leads_to_any_server(cluster: &Cluster) {
    for of in &cluster.servers {
        for to in &cluster.servers {
            of.kubectl(&["--server", &to.url(), "get", "nodes"]).ok();
        }
    }
}
