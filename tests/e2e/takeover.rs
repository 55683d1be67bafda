//! SIGKILL of the daemon: containers run on, and a restarted daemon takes them over.

use std::time::Duration;

use rustix::process::Signal;

use crate::cluster::Cluster;
use crate::command::eventually;

const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: steady}
spec:
  restartPolicy: Never
  containers:
  - name: counts
    image: mainstay-hello:1
    imagePullPolicy: Never
    command: ["sh", "-c", "i=0; while true; do i=$((i+1)); echo line $i; sleep 0.2; done"]
  - name: ends
    image: mainstay-hello:1
    imagePullPolicy: Never
    command: ["sh", "-c", "until [ -e /tmp/end ]; do sleep 0.1; done; exit 7"]
"#;

#[test]
fn containers_survive_sigkill_of_the_daemon_and_are_taken_over() {
    let mut cluster = Cluster::start();
    cluster.apply(POD);
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/steady", "--timeout=60s"]).ok();
    // The second container ends while no daemon runs.
    cluster
        .kubectl(&[
            "exec",
            "steady",
            "-c",
            "ends",
            "--",
            "sh",
            "-c",
            "(sleep 1; touch /tmp/end) >/dev/null 2>&1 &",
        ])
        .ok();
    let id = |cluster: &Cluster| cluster.kubectl(&["get", "pod", "steady", "-o", CONTAINER_IDS]).ok();
    let before = id(&cluster);
    cluster.end_daemon(Signal::KILL);
    cluster.up();

    let code = eventually(Duration::from_secs(30), || {
        let code = cluster.kubectl(&["get", "pod", "steady", "-o", EXIT_CODE]).ok();
        (!code.is_empty()).then_some(code)
    });
    assert_eq!(code.as_deref(), Some("7"), "the exit code of a container that ended meanwhile");
    assert_eq!(before, id(&cluster), "no container was started again");
    let log = cluster.kubectl(&["logs", "steady", "-c", "counts"]).ok();
    let numbers: Vec<u32> =
        log.lines().map(|line| line.trim_start_matches("line ").parse().unwrap()).collect();
    assert!(numbers.len() > 5, "{log}");
    assert!(
        numbers.iter().zip(1..).all(|(got, expected)| *got == expected),
        "no line is lost or doubled: {log}"
    );
    cluster.kubectl(&["exec", "steady", "-c", "counts", "--", "true"]).ok();
}

const CONTAINER_IDS: &str = "jsonpath={.status.containerStatuses[*].containerID}";
const EXIT_CODE: &str = "jsonpath={.status.containerStatuses[?(@.name=='ends')].state.terminated.exitCode}";
