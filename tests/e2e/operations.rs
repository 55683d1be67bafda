//! What operators do with kubectl on a running node: drain under budgets, attach, proxy, debug.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::Stdio;
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::cluster::Cluster;
use crate::command::{eventually, run};

fn page_of(url_port: u16, path: &str) -> Option<String> {
    let address = format!("127.0.0.1:{url_port}").parse().ok()?;
    let mut stream = std::net::TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

const GUARDED: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: web, image: mainstay-hello:1, imagePullPolicy: Never, command: ["sleep", "3600"]}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {minAvailable: 2, selector: {matchLabels: {app: web}}}
"#;

/// On one node the pods that replace the drained ones have nowhere to go: the budget lets one pod go and holds the rest.
#[test]
fn a_drain_evicts_what_budgets_allow_and_waits_for_the_rest() {
    let cluster = Cluster::start();
    let k = |arguments: &[&str]| cluster.kubectl(arguments).ok();
    cluster.apply(GUARDED);
    k(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    k(&["wait", "pdb/web", "--for=jsonpath={.status.disruptionsAllowed}=1", "--timeout=30s"]);
    let node = k(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"]);
    let drained = cluster.kubectl(&["drain", &node, "--ignore-daemonsets", "--timeout=15s"]);
    let said = format!("{}{}", drained.stdout, drained.stderr);
    assert!(drained.code != 0, "{said}");
    assert!(said.contains("evicted"), "one pod may go: {said}");
    assert!(
        said.contains("Cannot evict pod as it would violate the pod's disruption budget."),
        "the others may not: {said}"
    );
    assert!(said.contains("global timeout reached"), "{said}");
    let running = k(&["get", "pods", "-l", "app=web", "--field-selector=status.phase=Running", "-o", "name"]);
    assert_eq!(running.lines().count(), 2, "{running}");

    // Without the budget the drain ends.
    k(&["delete", "pdb", "web"]);
    let drained = k(&["drain", &node, "--ignore-daemonsets", "--timeout=60s"]);
    assert!(drained.contains(&format!("node/{node} drained")), "{drained}");
    let left = k(&["get", "pods", "-l", "app=web", "--field-selector=status.phase=Running", "-o", "name"]);
    assert_eq!(left, "");
    k(&["uncordon", &node]);
    k(&["rollout", "status", "deployment/web", "--timeout=60s"]);
}

const ECHOES: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: echoes, labels: {app: echoes}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: echoes
    image: mainstay-hello:1
    imagePullPolicy: Never
    stdin: true
    command: ["sh", "-c", "httpd -p 8080 -h /www; echo here > /www/index.html; while read line; do echo heard $line; done; sleep 3600"]
    ports: [{name: http, containerPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: echoes}
spec: {selector: {app: echoes}, ports: [{name: http, port: 80, targetPort: http}]}
"#;

#[test]
fn attach_and_proxy_reach_a_running_container() {
    let cluster = Cluster::start();
    let k = |arguments: &[&str]| cluster.kubectl(arguments).ok();
    cluster.apply(ECHOES);
    k(&["wait", "--for=condition=Ready", "pod/echoes", "--timeout=60s"]);

    let mut attach = cluster.kubectl_command(&["attach", "-i", "echoes"]);
    let mut attach =
        attach.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let (sender, lines) = channel();
    let out = attach.stdout.take().unwrap();
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let mut stdin = attach.stdin.take().unwrap();
    stdin.write_all(b"hello\n").unwrap();
    let heard =
        eventually(Duration::from_secs(20), || lines.try_iter().find(|line| line.contains("heard hello")));
    attach.kill().unwrap();
    attach.wait().unwrap();
    assert!(heard.is_some(), "what is typed reaches the container, and its answer comes back");
    assert!(k(&["logs", "echoes"]).contains("heard hello"));

    let mut proxy = cluster.kubectl_command(&["proxy", "--port=0"]);
    let mut proxy = proxy.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    let mut said = BufReader::new(proxy.stdout.take().unwrap());
    said.read_line(&mut line).unwrap();
    let port: u16 = line.trim().rsplit(':').next().unwrap().parse().unwrap_or_else(|_| panic!("{line}"));
    let node = k(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"]);
    let pages = [
        ("/api/v1/namespaces/default/pods/echoes".to_owned(), "\"name\":\"echoes\""),
        ("/api/v1/namespaces/default/pods/echoes:8080/proxy/".to_owned(), "here"),
        ("/api/v1/namespaces/default/services/echoes:http/proxy/index.html".to_owned(), "here"),
        (format!("/api/v1/nodes/{node}/proxy/healthz"), "ok"),
    ]
    .map(|(path, wanted)| {
        let shows =
            eventually(Duration::from_secs(15), || page_of(port, &path).filter(|page| page.contains(wanted)));
        (path.clone(), shows.is_some(), page_of(port, &path))
    });
    proxy.kill().unwrap();
    proxy.wait().unwrap();
    drop(said);
    for (path, shows, page) in pages {
        assert!(shows, "{path}: {page:?}");
    }
}

#[test]
fn debug_joins_a_running_container_copies_a_pod_and_looks_at_the_node() {
    let cluster = Cluster::start();
    let k = |arguments: &[&str]| cluster.kubectl(arguments).ok();
    cluster.apply(ECHOES);
    k(&["wait", "--for=condition=Ready", "pod/echoes", "--timeout=60s"]);

    // An ephemeral container in the pod's network, and in the target's processes.
    let image = ["--image=mainstay-hello:1", "--image-pull-policy=Never"];
    let debug = [
        &["debug", "echoes", "-i", "-q", "--container=dbg", "--target=echoes"][..],
        &image,
        &["--", "sh", "-c", "echo debugging $(hostname); ps | grep -c httpd; sleep 1"],
    ]
    .concat();
    let said = cluster.kubectl(&debug);
    let ended = eventually(Duration::from_secs(60), || {
        let state =
            k(&["get", "pod", "echoes", "-o", "jsonpath={.status.ephemeralContainerStatuses[0].state}"]);
        state.contains("terminated").then_some(state)
    });
    assert!(ended.is_some_and(|state| state.contains("Completed")), "{said:?}");
    let logs = k(&["logs", "echoes", "-c", "dbg"]);
    assert!(logs.contains("debugging echoes"), "{logs}");
    assert!(
        logs.lines().any(|line| line.trim().parse::<u32>().is_ok_and(|found| found > 1)),
        "it sees the target's processes: {logs}"
    );

    // A copy with another command.
    k(&["debug", "echoes", "--copy-to=copy", "--container=echoes", "--attach=false", "--", "sleep", "300"]);
    k(&["wait", "--for=condition=Ready", "pod/copy", "--timeout=60s"]);
    assert_eq!(k(&["get", "pod", "copy", "-o", "jsonpath={.spec.containers[0].command[0]}"]), "sleep");

    // The node, from a pod with its namespaces and its root.
    let node = k(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"]);
    let target = format!("node/{node}");
    let debug = [&["debug", &target, "--attach=false"][..], &image, &["--", "ls", "/host/var"]].concat();
    let said = k(&debug);
    let pod = said.split_whitespace().find(|word| word.starts_with("node-debugger-")).unwrap().to_owned();
    k(&["wait", &format!("pod/{pod}"), "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s"]);
    let listed = k(&["logs", &pod]);
    assert!(listed.lines().any(|line| line == "lib"), "{listed}");
    run(&mut cluster.kubectl_command(&["delete", "pod", &pod, "--wait=false"]), "").ok();
}
