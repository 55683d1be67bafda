//! The cluster exchanges its authority under load: no write is lost, no watch notices, no pod is restarted; a machine that is away
//! holds it up, and a server that dies meanwhile does not.

use std::time::Instant;

use crate::cluster::answers;
use crate::command::{Output, eventually, run};
use crate::load::Load;
use crate::machine::{IMAGE, Machine, START, Switch};

const WEB: &str = "jsonpath={.status.podIP} {.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount}";

#[track_caller]
pub(crate) fn rotate(at: &Machine, more: &[&str]) -> Output {
    let data_dir = at.data_dir();
    let arguments = ["certs", "rotate", "--authority", "--data-dir", data_dir.to_str().unwrap()];
    at.mainstay(&[&arguments[..], more].concat())
}

#[track_caller]
fn status(at: &Machine) -> String {
    let data_dir = at.data_dir();
    at.mainstay(&["certs", "status", "--data-dir", data_dir.to_str().unwrap()]).ok()
}

fn text(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

/// A web server on the worker; its address, container and restarts.
#[track_caller]
pub(crate) fn web(at: &Machine, worker: &Machine) -> String {
    worker.import_image();
    let manifest = format!(
        r#"{{"apiVersion": "v1", "kind": "Pod", "metadata": {{"name": "web"}}, "spec": {{"terminationGracePeriodSeconds": 0,
        "containers": [{{"name": "web", "image": "{IMAGE}", "imagePullPolicy": "Never",
            "command": ["sh", "-c", "echo the page > /www/index.html; echo it logs; exec httpd -f -p 8080 -h /www"]}}]}}}}"#
    );
    at.kubectl_with(&["apply", "-f", "-"], &manifest).ok();
    at.kubectl(&["wait", "--for=condition=Ready", "pod/web", "--timeout=90s"]).ok();
    at.kubectl(&["get", "pod", "web", "-o", WEB]).ok()
}

/// How many authorities pods are told.
#[track_caller]
fn told_to_pods(at: &Machine, wanted: usize) {
    let path = r"jsonpath={.data.ca\.crt}";
    let told = eventually(START, || {
        let said = at.kubectl(&["get", "configmap", "kube-root-ca.crt", "-o", path]).ok();
        (said.matches("BEGIN CERTIFICATE").count() == wanted).then_some(())
    });
    assert!(told.is_some(), "pods are told of {wanted} authorities");
}

/// How many authorities of the front proxy extension servers are told.
#[track_caller]
fn told_to_extension_servers(at: &Machine, wanted: usize) {
    let path = r"jsonpath={.data.requestheader-client-ca-file}";
    let told = eventually(START, || {
        let get = ["get", "configmap", "extension-apiserver-authentication", "-n", "kube-system", "-o", path];
        (at.kubectl(&get).ok().matches("BEGIN CERTIFICATE").count() == wanted).then_some(())
    });
    assert!(told.is_some(), "extension servers are told of {wanted} authorities");
}

/// What a server has of the authorities that servers alone have: of the store's members, of the front proxy, and whom members trust.
#[track_caller]
fn of_servers(at: &Machine) -> [String; 3] {
    ["peer-ca.crt", "front-proxy-ca.crt", "peer-trusted.pem"]
        .map(|name| std::fs::read_to_string(at.data_dir().join("pki").join(name)).unwrap())
}

#[track_caller]
pub(crate) fn reaches_the_pod(servers: &[Machine], before: &str) {
    for server in servers {
        assert!(server.kubectl(&["logs", "web"]).ok().contains("it logs"));
        assert_eq!(server.kubectl(&["exec", "web", "--", "echo", "hello"]).ok(), "hello\n");
        assert_eq!(server.kubectl(&["get", "pod", "web", "-o", WEB]).ok(), before, "it was not restarted");
    }
}

/// kubectl with a copy of a kubeconfig.
fn with(at: &Machine, kubeconfig: &std::path::Path) -> Output {
    let kubectl = std::env::var_os("MAINSTAY_TEST_KUBECTL").expect("the path of kubectl");
    run(at.command(kubectl).arg("--kubeconfig").arg(kubeconfig).args(["get", "namespaces", "-o", "name"]), "")
}

#[test]
fn the_authority_is_exchanged_under_load_and_nothing_is_lost_or_restarted() {
    let switch = Switch::new();
    let mut servers: Vec<Machine> = (1..=3).map(|number| switch.machine(number)).collect();
    let (mut worker, mut late) = (switch.machine(4), switch.machine(5));
    let mut last = switch.machine(6);
    servers[0].start(&["server", "--agent=false"]);
    let (join, agent) = (servers[0].join_arguments("server"), servers[0].join_arguments("agent"));
    for server in &mut servers[1..] {
        server.start(&[&text(&join)[..], &["--agent=false"]].concat());
    }
    worker.start(&text(&agent));
    let before = web(&servers[0], &worker);
    let (address, _) = before.split_once(' ').unwrap();
    let old = tempfile::NamedTempFile::new().unwrap();
    std::fs::copy(servers[0].kubeconfig(), old.path()).unwrap();
    let of_before = of_servers(&servers[0]);
    assert!(rotate(&servers[0], &["--finish"]).stderr.contains("begin with"), "there is nothing to finish");

    // A worker that is away holds it up.
    let load = Load::start("issue", &late, &servers);
    worker.stop();
    let held = rotate(&servers[1], &["--timeout", "3s"]);
    assert_eq!(held.code, 1, "{held:?}");
    assert!(held.stderr.contains("worker m4 does not trust the new authority yet"), "{held:?}");
    assert!(status(&servers[2]).contains("authority, stage 1 of 4"), "{}", status(&servers[2]));
    // So does a server that is; killed, it goes on where it was.
    servers[0].kill();
    worker.start(&["agent"]);
    let began = Instant::now();
    servers[0].start(&["server", "--agent=false"]);
    let said = rotate(&servers[1], &[]).ok();
    println!(
        "the new authority was trusted and issued {} ms after the machines were back",
        began.elapsed().as_millis()
    );
    assert!(said.contains("stage 2 of 4") && said.contains("--finish"), "{said}");
    println!("{} writes meanwhile", load.end().writes());
    reaches_the_pod(&servers, &before);
    told_to_pods(&servers[0], 2);
    half_way(&servers, &of_before);
    assert!(with(&servers[0], old.path()).code == 0, "a kubeconfig of before still works");
    late.start(&text(&agent)); // and so does a token
    assert!(status(&late).contains("node.crt"));
    let fresh = tempfile::NamedTempFile::new().unwrap();
    std::fs::copy(servers[0].kubeconfig(), fresh.path()).unwrap();

    let load = Load::start("finish", &late, &servers);
    let began = Instant::now();
    let said = rotate(&servers[2], &["--finish"]).ok();
    println!("the old authority was dropped after {} ms", began.elapsed().as_millis());
    assert!(said.contains("stage 3 of 4") && said.contains("is the only authority"), "{said}");
    let figures = load.end();
    println!("{} writes meanwhile, the longest pause {:?}", figures.writes(), figures.pause_after(began));
    reaches_the_pod(&servers, &before);
    told_to_pods(&servers[0], 1);
    at_the_end(&servers, &of_before);
    assert!(answers(&late, address, 8080), "the pod serves on");
    let refused = with(&servers[0], old.path());
    assert!(
        refused.code != 0 && refused.stderr.contains("certificate"),
        "it ends with the old authority: {refused:?}"
    );
    assert_eq!(with(&servers[0], fresh.path()).code, 0, "the one that was fetched half-way works");
    let refused = last.fails(&text(&agent));
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("its authority has another key"), "{refused:?}");
    let kubeconfig = servers[1].kubeconfig();
    let create = ["token", "create", "--kubeconfig", kubeconfig.to_str().unwrap()];
    let token = servers[1].mainstay(&create).ok();
    last.start(&["agent", "--join", &servers[1].url(), "--token", token.trim()]);
    let ready = ["wait", "--for=condition=Ready", "nodes", "--all", "--timeout=60s"];
    assert_eq!(servers[2].kubectl(&ready).ok().lines().count(), 3);

    start_again(&mut servers);
}

/// Members and extension servers are to trust both of their authorities.
#[track_caller]
fn half_way(servers: &[Machine], before: &[String; 3]) {
    told_to_extension_servers(&servers[0], 2);
    for server in servers {
        let [peers, front_proxy, trusted] = of_servers(server);
        assert_eq!([&peers, &front_proxy], [&before[0], &before[1]]);
        assert_eq!(trusted.matches("BEGIN CERTIFICATE").count(), 2, "members trust both");
    }
}

/// They have new ones alone, the same on every server.
#[track_caller]
fn at_the_end(servers: &[Machine], before: &[String; 3]) {
    told_to_extension_servers(&servers[0], 1);
    let now = of_servers(&servers[0]);
    assert!(now.iter().zip(before).all(|(now, before)| now != before), "they are exchanged too");
    assert_eq!(now[0], now[2], "the old one is trusted no more");
    assert!(servers.iter().all(|server| of_servers(server) == now));
}

/// All servers start with what they have.
#[track_caller]
fn start_again(servers: &mut [Machine]) {
    for server in &mut *servers {
        server.kill();
        server.spawn(&["server", "--agent=false"]);
    }
    let ready = ["wait", "--for=condition=Ready", "nodes", "--all", "--timeout=60s"];
    let back = eventually(START * 2, || (servers[0].kubectl(&ready).code == 0).then_some(()));
    assert!(back.is_some(), "{:?}", servers[0].kubectl(&ready));
    assert!(servers[0].kubectl(&["logs", "web"]).ok().contains("it logs"));
}
