//! Admission plugins of upstream's that are about volumes, nodes and sizes.

use serde_json::json;

use crate::server::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn volumes_and_claims_get_their_finalizers() {
    let server = TestServer::start().await;
    let admin = server.admin();
    let volume = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "v", "finalizers": ["x.io/y"]},
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/tmp/x"}}});
    let made = admin.post("/api/v1/persistentvolumes", &volume).await.expect(201);
    assert_eq!(made["metadata"]["finalizers"], json!(["x.io/y", "kubernetes.io/pv-protection"]));
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    let path = "/api/v1/namespaces/default/persistentvolumeclaims";
    let made = admin.post(path, &claim).await.expect(201);
    assert_eq!(made["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
    let deleted = admin.delete(&format!("{path}/c")).await.expect(200);
    assert!(deleted["metadata"]["deletionTimestamp"].is_string(), "it stays until nobody uses it");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_get_their_nodes_zone_when_they_are_bound_and_grow_within_it() {
    let server = TestServer::start().await;
    let admin = server.admin();
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n", "labels": {
        "topology.kubernetes.io/zone": "z1", "kubernetes.io/os": "linux", "other": "x"}},
        "status": {"allocatable": {"cpu": "2", "memory": "1Gi"}}});
    admin.post("/api/v1/nodes", &node).await.expect(201);
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    admin.post("/api/v1/namespaces/default/serviceaccounts", &account).await.expect(201);
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "1", "memory": "64Mi"}}}]}});
    let pods = "/api/v1/namespaces/default/pods";
    admin.post(pods, &pod).await.expect(201);
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"},
        "target": {"kind": "Node", "name": "n"}});
    admin.post(&format!("{pods}/p/binding"), &binding).await.expect(201);
    let bound = admin.get(&format!("{pods}/p")).await.expect(200);
    assert_eq!(bound["metadata"]["labels"], json!({"topology.kubernetes.io/zone": "z1"}));
    let grow =
        |cpu: &str| json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}});
    let refused = admin.patch(&format!("{pods}/p/resize"), "strategic-merge", &grow("3")).await;
    assert_eq!(refused.code, 403);
    assert_eq!(
        refused.json()["message"],
        "pods \"p\" is forbidden: Node didn't have enough allocatable resources: cpu, requested: 3000, allocatable: 2000"
    );
    admin.patch(&format!("{pods}/p/resize"), "strategic-merge", &grow("2")).await.expect(200);
    server.stop().await;
}
