//! A fork bomb, a memory hog, an endless log, a broken image and an unknown volume hurt only their own pod.

use std::time::Duration;

use crate::cluster::Cluster;
use crate::command::eventually;

const WORLD: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: bystander}
spec:
  containers:
  - {name: c, image: mainstay-hello:1, imagePullPolicy: Never, command: ["sleep", "3600"]}
---
apiVersion: v1
kind: Pod
metadata: {name: fork-bomb}
spec:
  restartPolicy: Never
  containers:
  - {name: c, image: mainstay-hello:1, imagePullPolicy: Never, command: ["sh", "-c", "bomb() { bomb | bomb & }; bomb; sleep 3600"], resources: {limits: {memory: 64Mi, cpu: 200m}}}
---
apiVersion: v1
kind: Pod
metadata: {name: hog}
spec:
  restartPolicy: Never
  containers:
  - {name: c, image: mainstay-hello:1, imagePullPolicy: Never, command: ["sh", "-c", "x=0123456789abcdef; while true; do x=$x$x; done"], resources: {limits: {memory: 32Mi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: chatter}
spec:
  containers:
  - {name: c, image: mainstay-hello:1, imagePullPolicy: Never, command: ["sh", "-c", "busybox yes a-line-that-never-ends"], resources: {limits: {cpu: 200m}}}
---
apiVersion: v1
kind: Pod
metadata: {name: no-image}
spec:
  containers:
  - {name: c, image: "localhost:1/none:1"}
---
apiVersion: v1
kind: Pod
metadata: {name: no-volume}
spec:
  containers:
  - {name: c, image: mainstay-hello:1, imagePullPolicy: Never}
  volumes: [{name: v, nfs: {server: 127.0.0.1, path: /}}]
"#;

#[test]
fn a_hostile_pod_hurts_only_itself_and_a_broken_one_says_why() {
    let cluster = Cluster::start();
    cluster.apply(WORLD);
    let get =
        |pod: &str, path: &str| cluster.kubectl(&["get", "pod", pod, "-o", &format!("jsonpath={path}")]).ok();
    let reaches = |pod: &str, path: &str, wanted: &str| {
        let reached = eventually(Duration::from_secs(60), || get(pod, path).contains(wanted).then_some(()));
        assert!(reached.is_some(), "{pod}: {wanted} in\n{}", cluster.kubectl(&["describe", "pod", pod]).ok());
    };
    reaches("hog", "{.status.containerStatuses[0].state.terminated.reason}", "OOMKilled");
    reaches("no-image", "{.status.containerStatuses[0].state.waiting.reason}", "ImagePull");
    let told = eventually(Duration::from_secs(30), || {
        let events = cluster.kubectl(&["events", "--for=pod/no-volume"]).ok();
        (events.contains("FailedMount") && events.contains("nfs")).then_some(())
    });
    assert!(told.is_some(), "{}", cluster.kubectl(&["describe", "pod", "no-volume"]).ok());
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/bystander", "pod/chatter", "--timeout=60s"]).ok();
    cluster.kubectl(&["exec", "bystander", "--", "true"]).ok();
    let logs = cluster.data_dir();
    let bytes =
        crate::command::run(std::process::Command::new("du").args(["-sm", logs.to_str().unwrap()]), "").ok();
    let mebibytes: u64 = bytes.split_whitespace().next().unwrap().parse().unwrap();
    assert!(mebibytes < 500, "an endless log filled {mebibytes} MiB");
    cluster.kubectl(&["delete", "pods", "--all", "--grace-period=1", "--timeout=60s"]).ok();
}

#[test]
fn containers_run_confined() {
    let cluster = Cluster::start();
    cluster.apply(
        r#"
apiVersion: v1
kind: Pod
metadata: {name: plain}
spec:
  containers:
  - {name: c, image: mainstay-hello:1, imagePullPolicy: Never, command: ["sleep", "3600"]}
"#,
    );
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/plain", "--timeout=60s"]).ok();
    let status = cluster.kubectl(&["exec", "plain", "--", "cat", "/proc/self/status"]).ok();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    assert_eq!(field("Seccomp:"), "2", "RuntimeDefault filters exec too");
    assert_eq!(field("THP_enabled:"), "1", "what our allocator switches off for us stays on for containers");
    assert_eq!(field("CapEff:"), "00000000a80425fb", "the usual default capabilities");
    assert_eq!(field("CapInh:"), "0000000000000000");
    for forbidden in [
        "busybox mount -t tmpfs x /tmp",
        "echo x > /proc/sysrq-trigger",
        "echo x > /proc/sys/kernel/core_pattern",
    ] {
        let tried = cluster.kubectl(&["exec", "plain", "--", "sh", "-c", forbidden]);
        assert_ne!(tried.code, 0, "{forbidden} worked");
    }
}
