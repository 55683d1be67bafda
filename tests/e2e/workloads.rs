//! The demo, and what kubectl does with workloads: rollouts, logs, exec, port-forward, cp.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::cluster::Cluster;
use crate::command::{eventually, run};

fn demo() -> Cluster {
    let cluster = Cluster::start();
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/hello/hello.yaml");
    cluster.kubectl(&["apply", "-f", manifest.to_str().unwrap()]).ok();
    cluster.kubectl(&["rollout", "status", "deployment/hello", "--timeout=90s"]).ok();
    cluster
}

#[test]
fn the_demo_serves_through_its_service_and_rolls_out_changes() {
    let cluster = demo();
    let k = |arguments: &[&str]| cluster.kubectl(arguments).ok();
    let address = k(&["get", "service", "hello", "-o", "jsonpath={.spec.clusterIP}"]);
    let page = eventually(Duration::from_secs(10), || fetch(&address, 80)).expect("the Service answers");
    assert!(page.contains("Hello from Mainstay"), "{page}");

    // Applying again changes nothing.
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/hello/hello.yaml");
    let again = k(&["apply", "-f", manifest.to_str().unwrap()]);
    assert!(again.lines().all(|line| line.ends_with("unchanged")), "{again}");
    let diff = cluster.kubectl(&["diff", "-f", manifest.to_str().unwrap()]);
    assert_eq!((diff.code, diff.stdout.as_str()), (0, ""), "{diff:?}");

    let managers = |of: &str| {
        let named = "jsonpath={range .items[*].metadata.managedFields[*]}{.manager}{'\\n'}{end}";
        k(&["get", of, "-l", "app=hello", "--show-managed-fields", "-o", named])
    };
    for (of, manager) in [("replicasets", "kube-controller-manager"), ("pods", "kubelet")] {
        let managers = managers(of);
        assert!(managers.lines().any(|line| line == manager), "{of}: {managers}");
        assert!(!managers.contains("unknown"), "{of}: {managers}");
    }

    k(&["scale", "deployment/hello", "--replicas=5"]);
    k(&["rollout", "status", "deployment/hello", "--timeout=60s"]);
    assert_eq!(k(&["get", "deployment", "hello", "-o", "jsonpath={.status.readyReplicas}"]), "5");

    k(&["set", "image", "deployment/hello", "web=docker.io/library/mainstay-hello:1"]);
    k(&["rollout", "status", "deployment/hello", "--timeout=90s"]);
    k(&["rollout", "restart", "deployment/hello"]);
    k(&["rollout", "status", "deployment/hello", "--timeout=90s"]);
    let history = k(&["rollout", "history", "deployment/hello"]);
    assert!(
        ["1", "2", "3"].iter().all(|revision| history.lines().any(|line| line.starts_with(revision))),
        "{history}"
    );
    k(&["rollout", "undo", "deployment/hello", "--to-revision=1"]);
    k(&["rollout", "status", "deployment/hello", "--timeout=90s"]);
    let image =
        k(&["get", "deployment", "hello", "-o", "jsonpath={.spec.template.spec.containers[0].image}"]);
    assert_eq!(image, "mainstay-hello:1");

    k(&["delete", "deployment", "hello", "--cascade=foreground", "--timeout=60s"]);
    let left = k(&["get", "pods,replicasets", "-o", "name"]);
    assert_eq!(left, "", "foreground deletion leaves no child");
}

#[test]
fn logs_exec_cp_and_port_forward_reach_the_container() {
    let cluster = demo();
    let k = |arguments: &[&str]| cluster.kubectl(arguments).ok();
    let pod = k(&["get", "pods", "-l", "app=hello", "-o", "jsonpath={.items[0].metadata.name}"]);

    let who = cluster.kubectl_with(
        &["exec", "-i", &pod, "-c", "web", "--", "sh", "-c", "read x; echo got $x; exit 3"],
        "line\n",
    );
    assert_eq!((who.code, who.stdout.as_str()), (3, "got line\n"), "{who:?}");
    // script(1) gives kubectl a terminal of its own.
    let kubectl = format!(
        "{:?}",
        cluster.kubectl_command(&[
            "exec",
            "-it",
            &pod,
            "-c",
            "web",
            "--",
            "sh",
            "-c",
            "'test -t 0 && echo a-terminal'"
        ])
    );
    let kubectl = kubectl.rsplit_once(" \"exec\"").map_or_else(
        || kubectl.clone(),
        |(before, after)| format!("{before} exec{}", after.replace('"', "")),
    );
    let terminal = run(std::process::Command::new("script").args(["-qec", &kubectl, "/dev/null"]), "").ok();
    assert!(terminal.contains("a-terminal"), "{terminal}");

    let dir = tempfile::tempdir().unwrap();
    let (there, back) = (dir.path().join("there"), dir.path().join("back"));
    std::fs::write(&there, "copied\n").unwrap();
    k(&["cp", there.to_str().unwrap(), &format!("{pod}:/tmp/file"), "-c", "web"]);
    k(&["cp", &format!("{pod}:/tmp/file"), back.to_str().unwrap(), "-c", "web"]);
    assert_eq!(std::fs::read_to_string(&back).unwrap(), "copied\n");

    let mut forward = cluster.kubectl_command(&["port-forward", &format!("pod/{pod}"), ":8080"]);
    let mut forward = forward.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    let mut said = BufReader::new(forward.stdout.take().unwrap()); // open until the end: kubectl says more
    said.read_line(&mut line).unwrap();
    let port =
        line.split(" -> ").next().and_then(|from| from.rsplit(':').next()).and_then(|port| port.parse().ok());
    let page = port.and_then(|port| eventually(Duration::from_secs(10), || fetch("127.0.0.1", port)));
    forward.kill().unwrap();
    forward.wait().unwrap();
    drop(said);
    assert!(page.as_ref().is_some_and(|page| page.contains(&pod)), "{line} {page:?}");
}

#[test]
fn logs_follow_tail_and_show_the_previous_container() {
    let cluster = Cluster::start();
    cluster.apply(
        r#"
apiVersion: v1
kind: Pod
metadata: {name: talks}
spec:
  containers:
  - name: talks
    image: mainstay-hello:1
    imagePullPolicy: Never
    command: ["sh", "-c", "for i in 1 2 3; do echo line $i; done; until [ -e /tmp/end ]; do sleep 0.1; done; echo last; exit 1"]
"#,
    );
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/talks", "--timeout=60s"]).ok();
    assert_eq!(cluster.kubectl(&["logs", "talks", "--tail=2"]).ok(), "line 2\nline 3\n");
    let none = cluster.kubectl(&["logs", "talks", "--previous"]).stderr;
    assert!(none.contains("previous terminated container \"talks\" in pod \"talks\" not found"), "{none}");
    let mut follow =
        cluster.kubectl_command(&["logs", "-f", "talks"]).stdout(Stdio::piped()).spawn().unwrap();
    cluster.kubectl(&["exec", "talks", "--", "touch", "/tmp/end"]).ok();
    let mut followed = String::new();
    follow.stdout.take().unwrap().read_to_string(&mut followed).unwrap();
    assert_eq!(crate::command::wait(&mut follow, "kubectl logs -f"), 0);
    assert_eq!(followed, "line 1\nline 2\nline 3\nlast\n", "follow ends with the container");
    let restarted = eventually(Duration::from_secs(60), || {
        let count = cluster
            .kubectl(&["get", "pod", "talks", "-o", "jsonpath={.status.containerStatuses[0].restartCount}"])
            .ok();
        (count == "1").then_some(())
    });
    assert!(restarted.is_some(), "{}", cluster.kubectl(&["describe", "pod", "talks"]).ok());
    assert!(cluster.kubectl(&["logs", "talks", "--previous"]).ok().ends_with("last\n"));
}

/// The body of `http://host:port/`, if it answers.
pub(crate) fn fetch(host: &str, port: u16) -> Option<String> {
    let address = format!("{host}:{port}").parse().ok()?;
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(format!("GET / HTTP/1.0\r\nHost: {host}\r\n\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.starts_with("HTTP/1.").then_some(answer)
}
