//! A worker without the others: its pods stay for as long as upstream says, and nothing is restarted when it is back.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cluster::{Cluster, pause};
use crate::machine::{IMAGE, Machine};

/// Upstream has 50 s; a node renews its Lease every 10 s.
const GRACE: &str = "13s";

fn get(server: &Machine, what: &[&str]) -> Option<Value> {
    let said = server.kubectl(&[&["get", "-o", "json"], what].concat());
    serde_json::from_str(&said.stdout).ok()
}

/// The status of the node's Ready condition, and the keys of its taints that evict.
fn node(server: &Machine, name: &str) -> Option<(String, Vec<String>)> {
    let node = get(server, &["node", name])?;
    let conditions = node["status"]["conditions"].as_array()?;
    let ready = conditions.iter().find(|condition| condition["type"] == "Ready")?;
    let taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    let evicting = taints.iter().filter(|taint| taint["effect"] == "NoExecute");
    let keys = evicting.filter_map(|taint| Some(taint["key"].as_str()?.to_owned()));
    Some((ready["status"].as_str()?.to_owned(), keys.collect()))
}

/// Pods of an app: name, node, whether it is being deleted, whether it is ready.
fn pods(server: &Machine, app: &str) -> Vec<(String, String, bool, bool)> {
    let said = get(server, &["pods", "-l", &format!("app={app}")]);
    let items = said.and_then(|said| said["items"].as_array().cloned()).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let is_ready = |pod: &Value| {
        let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    };
    let row = |pod: &Value| {
        let is_going = pod["metadata"]["deletionTimestamp"].is_string();
        (text(&pod["metadata"]["name"]), text(&pod["spec"]["nodeName"]), is_going, is_ready(pod))
    };
    items.iter().map(row).collect()
}

/// One pod that prefers a node, and leaves it two seconds after it became unreachable.
fn start_the_impatient(server: &Machine, node: &str) {
    let tolerations: Vec<Value> = ["unreachable", "not-ready"]
        .iter()
        .map(|why| {
            serde_json::json!({"key": format!("node.kubernetes.io/{why}"), "operator": "Exists", "effect": "NoExecute",
                "tolerationSeconds": 2})
        })
        .collect();
    let prefers = serde_json::json!({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100,
        "preference": {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}}]}});
    let labels = serde_json::json!({"app": "impatient"});
    let container = serde_json::json!({"name": "impatient", "image": IMAGE, "imagePullPolicy": "Never",
        "command": ["sleep", "1000000"]});
    let manifest = serde_json::json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "impatient"},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels},
            "spec": {"terminationGracePeriodSeconds": 1, "tolerations": tolerations, "affinity": prefers,
                "containers": [container]}}}});
    server.kubectl_with(&["apply", "-f", "-"], &manifest.to_string()).ok();
    server.kubectl(&["rollout", "status", "deployment/impatient", "--timeout=60s"]).ok();
}

#[test]
fn pods_of_a_worker_that_is_cut_off_are_evicted_by_upstreams_rules_only_and_the_others_run_on() {
    let cluster = Cluster::start(GRACE);
    cluster.web();
    let (server, worker) = (&cluster.servers[0], &cluster.workers[1]);
    let name = worker.name();
    start_the_impatient(server, &name);
    assert_eq!(pods(server, "impatient")[0].1, name, "it is where it wants to be");
    let before = cluster.containers(0);

    // Shorter than the grace: nothing happens at all.
    worker.cable(false);
    pause(Duration::from_secs(2));
    worker.cable(true);
    assert_eq!(node(server, &name).unwrap(), ("True".to_owned(), vec![]));

    worker.cable(false);
    let cut = Instant::now();
    let unreachable = vec!["node.kubernetes.io/unreachable".to_owned()];
    cluster.until("its node is unreachable", |_| {
        node(server, &name).is_some_and(|node| node == ("Unknown".to_owned(), unreachable.clone()))
    });
    println!(
        "the node is unreachable {} ms after the cut, with a grace of {GRACE}",
        cut.elapsed().as_millis()
    );
    assert!(cut.elapsed() > Duration::from_secs(2), "a node may be silent for a while");
    cluster.until("what does not tolerate that is evicted, and replaced elsewhere", |_| {
        let pods = pods(server, "impatient");
        let is_going = pods.iter().any(|(_, node, is_going, _)| *node == name && *is_going);
        is_going && pods.iter().any(|(_, node, is_going, is_ready)| *node != name && !is_going && *is_ready)
    });
    println!("its impatient pod is replaced {} ms after the cut", cut.elapsed().as_millis());
    let web = pods(server, "web");
    assert!(web.iter().all(|(_, _, is_going, _)| !is_going), "the others tolerate it for 300 s: {web:?}");
    assert!(web.iter().all(|(_, node, _, is_ready)| *is_ready == (*node != name)), "{web:?}");

    worker.cable(true);
    let healed = Instant::now();
    cluster.until("its node is ready again", |_| {
        node(server, &name).is_some_and(|node| node == ("True".to_owned(), vec![]))
    });
    println!("the node is ready {} ms after the cable is back", healed.elapsed().as_millis());
    cluster.until("what was evicted is gone, and the others are ready", |_| {
        pods(server, "impatient").len() == 1 && pods(server, "web").iter().all(|pod| pod.3)
    });
    println!("its pods are as they should be {} ms after the cable is back", healed.elapsed().as_millis());
    assert_eq!(cluster.containers(0), before, "no container is another one, or was restarted");
}
