//! Pods from their binding to their end.

use serde_json::json;

use super::rig::{PODS, Rig, condition};

const MAPS: &str = "api/v1/configmaps";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_gets_its_files_and_variables_and_becomes_ready() {
    let rig = Rig::new().await;
    rig.api.put(
        MAPS,
        json!({"metadata": {"name": "m", "namespace": "ns"}, "data": {"k": "v1", "f.txt": "file"}}),
    );
    rig.pod(
        "web",
        json!({
            "serviceAccountName": "default",
            "volumes": [
                {"name": "conf", "configMap": {"name": "m"}},
                {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}],
            "containers": [{"name": "app", "image": "app:1", "args": ["--k=$(K)"],
                "env": [{"name": "K", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k"}}},
                        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
                "volumeMounts": [{"name": "conf", "mountPath": "/conf"}, {"name": "token", "mountPath": "/t"}]}]
        }),
    );
    let status = rig.ready("web").await;
    assert_eq!((status["phase"].as_str(), status["podIP"].as_str()), (Some("Running"), Some("10.9.0.2")));
    let config = rig.cri.config("app").unwrap();
    assert_eq!(config.args, ["--k=v1"]);
    assert!(config.envs.iter().any(|e| e.key == "IP" && e.value == "10.9.0.2"));
    let host =
        |path: &str| config.mounts.iter().find(|m| m.container_path == path).unwrap().host_path.clone();
    assert_eq!(std::fs::read_to_string(format!("{}/f.txt", host("/conf"))).unwrap(), "file");
    assert_eq!(std::fs::read_to_string(format!("{}/token", host("/t"))).unwrap(), "t0ken");
    assert!(std::fs::read_to_string(host("/etc/hosts")).unwrap().contains("10.9.0.2\tweb\n"));
    rig.until("started event", |rig| rig.reasons().contains(&"Started".to_owned()).then_some(())).await;

    // A change of the map reaches the file.
    rig.api.put(
        MAPS,
        json!({"metadata": {"name": "m", "namespace": "ns"}, "data": {"k": "v1", "f.txt": "new"}}),
    );
    let path = format!("{}/f.txt", host("/conf"));
    rig.until("new file", |_| (std::fs::read_to_string(&path).ok()? == "new").then_some(())).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_pod_ends_in_order_and_leaves_nothing() {
    let rig = Rig::new().await;
    rig.pod(
        "web",
        json!({"initContainers": [{"name": "proxy", "image": "app:1", "restartPolicy": "Always"}],
            "containers": [{"name": "app", "image": "app:1",
                "lifecycle": {"preStop": {"exec": {"command": ["bye"]}}}}]}),
    );
    rig.ready("web").await;
    let mut pod = rig.api.get(PODS, "ns", "web").unwrap();
    pod["metadata"]["deletionTimestamp"] = "2024-01-01T00:00:30Z".into();
    pod["metadata"]["deletionGracePeriodSeconds"] = 30.into();
    rig.api.put(PODS, pod);
    rig.until("deleted object", |rig| rig.api.get(PODS, "ns", "web").is_none().then_some(())).await;
    rig.until("empty runtime", |rig| rig.cri.state.lock().sandboxes.is_empty().then_some(())).await;
    let log = rig.cri.log();
    let end: Vec<&str> = log.iter().map(String::as_str).skip_while(|l| *l != "exec bye").collect();
    assert_eq!(end, ["exec bye", "stop app", "stop proxy", "stop-sandbox", "remove-sandbox"]);
    assert!(!rig.dir.path().join("pods/uid-web").exists());
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_restarts_and_a_restarted_agent_takes_over() {
    let rig = Rig::new().await;
    rig.pod("web", json!({"containers": [{"name": "app", "image": "app:1"}]}));
    rig.ready("web").await;
    rig.cri.exit("app", 3);
    let restarted = |status: &serde_json::Value| {
        status["containerStatuses"][0]["restartCount"] == 1 && condition(status, "Ready") == Some("True")
    };
    let status = rig.status("web", "restart", restarted).await;
    assert_eq!(status["containerStatuses"][0]["lastState"]["terminated"]["exitCode"], 3);

    let before = rig.cri.log();
    let rig = rig.restart().await;
    rig.pod("other", json!({"containers": [{"name": "other", "image": "app:1"}]}));
    rig.ready("other").await;
    assert!(restarted(&rig.api.get(PODS, "ns", "web").unwrap()["status"]));
    let after: Vec<String> = rig.cri.log().split_off(before.len());
    assert_eq!(after, ["sandbox other", "create other", "start other"]);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_deleted_while_the_agent_was_down_ends_at_start() {
    let rig = Rig::new().await;
    rig.pod("web", json!({"containers": [{"name": "app", "image": "app:1"}]}));
    rig.ready("web").await;
    rig.stop().await;
    rig.api.remove(PODS, "ns", "web");
    let rig = rig.restart().await;
    rig.until("empty runtime", |rig| rig.cri.state.lock().sandboxes.is_empty().then_some(())).await;
    assert!(rig.cri.log().contains(&"stop app".to_owned()));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_start_says_why() {
    let rig = Rig::new().await;
    rig.pod("nope", json!({"containers": [{"name": "app", "image": "absent:1"}]}));
    rig.pod(
        "never",
        json!({"containers": [{"name": "app", "image": "absent:1", "imagePullPolicy": "Never"}]}),
    );
    rig.pod("bad", json!({"containers": [{"name": "app", "image": "Bad Name"}]}));
    rig.pod(
        "map",
        json!({"containers": [{"name": "app", "image": "app:1",
        "envFrom": [{"configMapRef": {"name": "late"}}]}]}),
    );
    rig.pod(
        "root",
        json!({"containers": [{"name": "app", "image": "app:1",
        "securityContext": {"runAsNonRoot": true}}]}),
    );
    rig.pod(
        "nfs",
        json!({"volumes": [{"name": "v", "nfs": {"server": "s", "path": "/"}}],
        "containers": [{"name": "app", "image": "app:1"}]}),
    );
    let reason = |status: &serde_json::Value| {
        status["containerStatuses"][0]["state"]["waiting"]["reason"].as_str().unwrap_or_default().to_owned()
    };
    for (pod, want) in [
        ("nope", "ErrImagePull"),
        ("never", "ErrImageNeverPull"),
        ("bad", "InvalidImageName"),
        ("map", "CreateContainerConfigError"),
        ("root", "CreateContainerConfigError"),
    ] {
        rig.status(pod, want, |status| reason(status) == want).await;
    }
    let root = rig.api.get(PODS, "ns", "root").unwrap();
    let message =
        root["status"]["containerStatuses"][0]["state"]["waiting"]["message"].as_str().unwrap().to_owned();
    assert_eq!(
        message,
        "container has runAsNonRoot and image will run as root (pod: \"root_ns(uid-root)\", container: app)"
    );
    rig.until("unsupported volume event", |rig| {
        let events = rig.api.list("api/v1/events");
        events.iter().find(|e| {
            e["reason"] == "FailedMount"
                && e["message"].as_str().is_some_and(|m| m.contains("\"nfs\" is not supported"))
        })?;
        Some(())
    })
    .await;
    rig.status("nope", "ImagePullBackOff", |status| reason(status) == "ImagePullBackOff").await;

    // The missing map arrives: no need to wait for the retry.
    rig.api.put(MAPS, json!({"metadata": {"name": "late", "namespace": "ns"}, "data": {"a": "b"}}));
    rig.ready("map").await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_like_pod_succeeds_and_the_node_is_registered_and_ready() {
    let rig = Rig::new().await;
    rig.pod("job", json!({"restartPolicy": "Never", "containers": [{"name": "app", "image": "app:1",
        "startupProbe": {"exec": {"command": ["true"]}}, "readinessProbe": {"exec": {"command": ["true"]}}}]}));
    rig.ready("job").await;
    rig.cri.exit("app", 0);
    rig.status("job", "succeeded pod", |status| status["phase"] == "Succeeded").await;
    let node = rig.api.get("api/v1/nodes", "", "n1").unwrap();
    assert_eq!(condition(&node["status"], "Ready"), Some("True"));
    assert_eq!(node["metadata"]["labels"]["kubernetes.io/hostname"], "n1");
    let lease = rig.api.get("apis/coordination.k8s.io/v1/leases", "kube-node-lease", "n1");
    assert!(lease.is_some());
    rig.stop().await;
}

/// The status of the Node's Ready condition, and when it last changed.
fn ready(node: &serde_json::Value) -> (String, String) {
    let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let ready = conditions.into_iter().find(|condition| condition["type"] == "Ready").unwrap_or_default();
    let text = |key: &str| ready[key].as_str().unwrap_or_default().to_owned();
    (text("status"), text("lastTransitionTime"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_the_cluster_gave_up_says_at_once_that_it_is_ready() {
    const NODES: &str = "api/v1/nodes";
    let rig = Rig::new().await;
    let is_ready = |rig: &Rig| {
        let node = rig.api.get(NODES, "", "n1")?;
        (ready(&node).0 == "True").then_some(node)
    };
    for _ in 0..2 {
        let mut node = rig.until("the node is ready", is_ready).await;
        for condition in node["status"]["conditions"].as_array_mut().unwrap() {
            condition["status"] = "Unknown".into();
            condition["lastTransitionTime"] = "2024-01-01T00:00:00Z".into();
        }
        rig.api.put(NODES, node);
    }
    let node = rig.until("the node is ready", is_ready).await;
    assert_ne!(ready(&node).1, "2024-01-01T00:00:00Z", "it has become ready just now");
    rig.until("it is told", |rig| {
        let events = rig.api.list("api/v1/events");
        events.iter().any(|event| event["reason"] == "NodeReady").then_some(())
    })
    .await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_does_not_fit_is_refused() {
    let rig = Rig::new().await;
    rig.pod(
        "huge",
        json!({"containers": [{"name": "app", "image": "app:1",
        "resources": {"requests": {"cpu": "100000"}}}]}),
    );
    let status = rig.status("huge", "failed pod", |status| status["phase"] == "Failed").await;
    assert_eq!(status["reason"], "OutOfcpu");
    assert!(rig.cri.log().is_empty());
    rig.stop().await;
}
