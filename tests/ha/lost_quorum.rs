//! Two of three servers are lost at once.

use std::time::{Duration, Instant};

use crate::cluster::{Cluster, answers};
use crate::command::Output;
use crate::machine::Machine;

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
