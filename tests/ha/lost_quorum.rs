//! Two of three servers are lost at once.

use std::time::{Duration, Instant};

use crate::cluster::{Cluster, SOON, answers};
use crate::command::{Output, eventually};
use crate::machine::{Machine, Switch};

/// A refusal takes no longer than this on a busy machine.
const REFUSED_WITHIN: Duration = Duration::from_secs(20);
const WARNING: &str = "Warning: too few servers of the cluster answer: this is as of ";

/// Fails, in bounded time, and says why.
#[track_caller]
fn refused(server: &Machine, arguments: &[&str]) {
    let began = Instant::now();
    let Output { code, stdout, stderr } = server.kubectl(arguments);
    println!(
        "kubectl {} is refused after {} ms: {}",
        arguments.join(" "),
        began.elapsed().as_millis(),
        stderr.trim()
    );
    assert_ne!(code, 0, "{stdout}");
    assert!(stderr.contains("no quorum"), "{stderr}");
    assert!(began.elapsed() < REFUSED_WITHIN);
}

/// Is answered, with a warning.
#[track_caller]
fn stale(server: &Machine, arguments: &[&str]) -> String {
    let said = server.kubectl(arguments);
    assert!(said.code == 0 && said.stderr.contains(WARNING), "{arguments:?}: {said:?}");
    said.stdout
}

fn allow_stale(server: &Machine, more: &[&str]) {
    let kubeconfig = server.kubeconfig();
    let words = ["server", "allow-stale", "--kubeconfig", kubeconfig.to_str().unwrap()];
    server.mainstay(&[&words, more].concat()).ok();
}

#[test]
fn when_two_of_three_servers_are_lost_the_third_refuses_or_is_read_with_a_warning_and_pods_run_on() {
    let mut cluster = Cluster::start("50s");
    let pods = cluster.web();
    cluster.servers[0].kubectl(&["create", "configmap", "kept", "--from-literal=a=1"]).ok();
    let before = cluster.containers(0);
    for at in [1, 2] {
        cluster.servers[at].kill();
    }
    let server = &cluster.servers[0];
    refused(server, &["get", "configmap", "kept"]);
    refused(server, &["create", "configmap", "without-a-quorum"]);
    for worker in &cluster.workers {
        assert!(pods.iter().all(|pod| answers(worker, pod, 8080)), "pods run on");
    }

    allow_stale(server, &[]);
    assert_eq!(stale(server, &["get", "configmap", "kept", "-o", "jsonpath={.data.a}"]), "1");
    assert!(stale(server, &["get", "pods", "-A"]).contains("web"));
    let watch = "/api/v1/namespaces/default/configmaps?watch=true&timeoutSeconds=1";
    assert!(stale(server, &["get", "--raw", watch]).contains("\"kept\""));
    let on_a_worker = format!("--field-selector=spec.nodeName={}", cluster.workers[0].name());
    let pod = stale(server, &["get", "pods", "-l", "app=web", &on_a_worker, "-o", "name"]);
    stale(server, &["logs", pod.trim()]);
    refused(server, &["create", "configmap", "without-a-quorum"]);
    assert_ne!(server.kubectl(&["get", "--raw", "/readyz"]).code, 0, "clients with a choice go elsewhere");
    let status = server.mainstay(&["status", "--data-dir", server.data_dir().to_str().unwrap()]);
    println!("status: {}{}", status.stdout, status.stderr);
    assert_eq!(status.code, 1);
    assert!(status.stdout.contains("wrong: no server leads: writes wait until a majority"), "{status:?}");
    assert!(status.stdout.contains("store: 1 of 3 servers answer, and a majority is needed"), "{status:?}");
    allow_stale(server, &["--off"]);
    refused(server, &["get", "configmap", "kept"]);

    allow_stale(server, &[]);
    for at in [1, 2] {
        cluster.start_server(at);
    }
    cluster.until("all three are back", |cluster| (0..3).all(|at| cluster.listed(at) == 3));
    let fresh = cluster.servers[0].kubectl(&["get", "configmap", "kept", "-o", "jsonpath={.data.a}"]);
    assert!(fresh.code == 0 && fresh.stdout == "1" && !fresh.stderr.contains(WARNING), "{fresh:?}");
    cluster.servers[0].kubectl(&["create", "configmap", "with-a-quorum"]).ok();
    assert_eq!(cluster.containers(0), before, "no container is another one, or was restarted");
}

/// Nobody allowed that it is read: it says for whom it waits, once, and refuses. Who it does not know learns nothing else.
#[track_caller]
fn told_to_wait(alone: &Machine) {
    let said = || std::fs::read_to_string(alone.log()).unwrap();
    let waits = "this one waits for a majority, and answers 503 meanwhile";
    let is_told = eventually(SOON, || said().contains(waits).then_some(()));
    assert!(is_told.is_some(), "{}", said());
    let answers =
        eventually(SOON, || alone.kubectl(&["version"]).stdout.contains("Server Version").then_some(()));
    assert!(answers.is_some(), "{:?}", alone.kubectl(&["version"]));
    refused(alone, &["get", "configmap", "kept"]);
    let nobody = ["--kubeconfig", "/dev/null", "--insecure-skip-tls-verify", "--token", "nobody", "--server"];
    let refused = alone.kubectl(&[&nobody[..], &[&alone.url(), "get", "configmap", "kept"]].concat());
    assert!(
        refused.code != 0 && refused.stderr.contains("You must be logged in to the server"),
        "{refused:?}"
    );
    assert_ne!(alone.kubectl(&["get", "--raw", "/readyz"]).code, 0, "clients with a choice go elsewhere");
    let status = alone.mainstay(&["status", "--data-dir", alone.data_dir().to_str().unwrap()]);
    assert_eq!(status.code, 1);
    assert!(status.stdout.contains("store: 1 of 3 servers answer, and a majority is needed"), "{status:?}");
    allow_stale(alone, &[]);
    assert_eq!(stale(alone, &["get", "configmap", "kept", "-o", "jsonpath={.data.a}"]), "1");
    assert_eq!(said().matches(waits).count(), 1, "it is told once: {}", said());
    assert!(said().contains("m1 at https://10.213.0.1:2380, m2 at https://10.213.0.2:2380"), "{}", said());
}

/// How far a server has applied its log, as it says.
#[track_caller]
fn applied(server: &Machine) -> u64 {
    let said = server.kubectl(&["get", "--raw", "/mainstay/v1/servers"]).ok();
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    said["appliedIndex"].as_u64().unwrap()
}

/// How far its log is committed, as its directory says: the file holds eight bytes of magic, the cluster, the term and the index.
fn noted(server: &Machine) -> u64 {
    let bytes = std::fs::read(server.data_dir().join("store/COMMITTED")).unwrap_or_default();
    bytes.get(24..32).map_or(0, |index| u64::from_le_bytes(index.try_into().unwrap()))
}

/// All three lose their power, and one comes back: it is read as it was, up to its last write, by whoever allowed that beforehand.
#[test]
fn a_server_that_is_started_alone_refuses_and_is_read_with_a_warning_where_that_is_allowed() {
    const SERVER: [&str; 2] = ["server", "--agent=false"];
    let switch = Switch::new();
    let mut servers: Vec<Machine> = (1..=3).map(|number| switch.machine(number)).collect();
    servers[0].start(&SERVER);
    let join = servers[0].join_arguments("server");
    let join: Vec<&str> = join.iter().map(String::as_str).chain(["--agent=false"]).collect();
    for server in &mut servers[1..] {
        server.start(&join);
    }
    servers[0].kubectl(&["create", "configmap", "kept", "--from-literal=a=1"]).ok();
    let get = ["get", "configmap", "kept", "-o", "jsonpath={.data.a}"];
    assert_eq!(servers[2].kubectl(&get).ok(), "1");
    let applied = applied(&servers[2]);
    let is_noted = eventually(SOON, || (noted(&servers[2]) >= applied).then_some(()));
    is_noted.expect("a server notes how far its log is committed");
    for server in &mut servers {
        server.kill();
    }
    servers[2].spawn(&SERVER);
    told_to_wait(&servers[2]);
    servers[2].kill();
    servers[2].spawn(&[&SERVER[..], &["--allow-stale"]].concat());
    let alone = &servers[2];
    let read = eventually(SOON, || {
        let said = alone.kubectl(&get);
        (said.code == 0).then_some(said)
    });
    let read = read.unwrap_or_else(|| panic!("it is not read: {:?}", alone.kubectl(&get)));
    assert_eq!(read.stdout, "1");
    assert!(read.stderr.contains(&format!("{WARNING}before this server started")), "{read:?}");
    assert!(stale(alone, &["get", "services"]).contains("kubernetes"));
    refused(alone, &["create", "configmap", "without-a-quorum"]);
    assert_ne!(alone.kubectl(&["get", "--raw", "/readyz"]).code, 0, "clients with a choice go elsewhere");

    servers[0].start(&SERVER);
    let fresh = eventually(SOON, || {
        let said = servers[2].kubectl(&get);
        (said.code == 0 && !said.stderr.contains(WARNING)).then_some(said)
    });
    assert_eq!(fresh.expect("it is one of two that answer").stdout, "1");
    servers[2].kubectl(&["create", "configmap", "with-a-quorum"]).ok();
}
