//! What Prometheus is given, what may read it, and that dashboard and alerts ask only for what is there.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::cluster::Cluster;
use crate::command::run;

const DASHBOARD: &str = include_str!("../../docs/cluster-dashboard.json");
const ALERTS: &str = include_str!("../../docs/alerts.yaml");
/// How the names of our metrics begin.
const BEGINNINGS: [&str; 4] = ["apiserver_", "etcd_", "mainstay_", "process_"];

/// The names of metrics in an expression of Prometheus.
fn names(expression: &str) -> impl Iterator<Item = &str> {
    let words = expression.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let names = words.filter(|word| BEGINNINGS.iter().any(|beginning| word.starts_with(beginning)));
    names.map(|name| name.trim_end_matches("_bucket"))
}

fn expressions() -> Vec<String> {
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let mut found: Vec<String> = targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect();
    let shown = found.len();
    found.extend(ALERTS.lines().filter_map(|line| Some(line.trim().strip_prefix("expr: ")?.to_owned())));
    assert!(shown > 20 && found.len() >= shown + 10, "{found:?}");
    found
}

#[test]
fn whoever_may_read_metrics_finds_all_that_dashboard_and_alerts_ask_for() {
    let cluster = Cluster::start();
    cluster.kubectl(&["create", "serviceaccount", "prometheus", "-n", "kube-system"]).ok();
    let token = cluster.kubectl(&["create", "token", "prometheus", "-n", "kube-system"]).ok();
    let read = |path: &str| cluster.kubectl_as(token.trim(), &["get", "--raw", path]);
    for path in ["/metrics", "/metrics/store"] {
        let refused = read(path);
        assert!(refused.code != 0 && refused.stderr.contains("forbidden"), "{path}: {refused:?}");
    }
    let role = ["--verb=get", "--non-resource-url=/metrics", "--non-resource-url=/metrics/store"];
    cluster.kubectl(&[&["create", "clusterrole", "metrics-reader"], &role[..]].concat()).ok();
    let binding = ["--clusterrole=metrics-reader", "--serviceaccount=kube-system:prometheus"];
    cluster.kubectl(&[&["create", "clusterrolebinding", "metrics-reader"], &binding[..]].concat()).ok();
    let text = read("/metrics").ok() + &read("/metrics/store").ok();
    let told: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    for expression in expressions() {
        let missing: Vec<&str> = names(&expression).filter(|name| !told.contains(name)).collect();
        assert!(missing.is_empty(), "{missing:?} of {expression} are not there");
    }
    assert!(text.contains("\netcd_server_has_leader 1\n"), "{text}");
}

#[test]
fn what_is_gathered_for_a_maintainer_has_no_secrets_in_it() {
    let cluster = Cluster::start();
    let secret = "hunter2-in-no-archive";
    let literal = format!("--from-literal=password={secret}");
    cluster.kubectl(&["create", "secret", "generic", "keys", &literal]).ok();
    cluster.kubectl(&["create", "configmap", "settings", &literal]).ok();
    let env = format!("--env=PASSWORD={secret}");
    cluster.kubectl(&["run", "page", "--image=mainstay-hello:1", "--image-pull-policy=Never", &env]).ok();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("support.tar.gz");
    let output = file.to_str().unwrap();
    let said = cluster.mainstay(&["support", "--output", output]).ok();
    assert!(said.contains("look at it before you send it"), "{said}");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let mut unpack = Command::new("tar");
    run(unpack.args(["-xzf", output, "--strip-components=1", "-C"]).arg(dir.path()), "").ok();
    fs::remove_file(&file).unwrap();
    let pods = fs::read_to_string(dir.path().join("objects/pods.json")).unwrap();
    assert!(pods.contains("\"page\"") && pods.contains("PASSWORD"), "{pods}");
    let status = fs::read_to_string(dir.path().join("status.txt")).unwrap();
    assert!(status.contains("node"), "{status}");
    let found = run(Command::new("grep").args(["-rl", secret]).arg(dir.path()), "");
    assert_eq!((found.code, found.stdout.as_str()), (1, ""), "files with the secret");
    let again = cluster.mainstay(&["support", "--output", dir.path().join("status.txt").to_str().unwrap()]);
    assert_eq!(again.code, 2, "a file that is there stays: {again:?}");
}
