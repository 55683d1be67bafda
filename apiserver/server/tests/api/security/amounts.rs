//! Limits and quotas of a namespace, and default classes.

use serde_json::{Value, json};

use super::{pod, service_account};
use crate::client::config_map;
use crate::server::TestServer;

const PODS: &str = "/api/v1/namespaces/default/pods";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn sized(name: &str, cpu: &str) -> Value {
    let mut object = pod(name, &json!({}));
    object["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": cpu}});
    object
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_range_fills_and_bounds() {
    let server = TestServer::start().await;
    let client = server.admin();
    service_account(&client, "default", "default").await;
    let range = json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "l"}, "spec": {"limits": [
        {"type": "Container", "default": {"cpu": "2"}, "defaultRequest": {"cpu": "1"}, "max": {"cpu": "3"}}]}});
    client.post("/api/v1/namespaces/default/limitranges", &range).await.expect(201);
    let made = client.post(PODS, &pod("p", &json!({}))).await.expect(201);
    assert_eq!(
        made["spec"]["containers"][0]["resources"],
        json!({"limits": {"cpu": "2"}, "requests": {"cpu": "1"}})
    );
    assert_eq!(
        made["metadata"]["annotations"]["kubernetes.io/limit-ranger"],
        "LimitRanger plugin set: cpu request for container c; cpu limit for container c"
    );
    let mut large = sized("q", "1");
    large["spec"]["containers"][0]["resources"]["limits"] = json!({"cpu": "4"});
    let refused = client.post(PODS, &large).await.expect(403);
    assert_eq!(
        refused["message"],
        "pods \"q\" is forbidden: maximum cpu usage per Container is 3, but limit is 4"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_counts_what_is_there_and_bounds_what_comes() {
    let server = TestServer::start().await;
    let client = server.admin();
    service_account(&client, "default", "default").await;
    client.post(MAPS, &config_map("before", &json!({}), &json!({}))).await.expect(201);
    let path = "/api/v1/namespaces/default/resourcequotas";
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard":
        {"configmaps": "2", "pods": "1", "requests.cpu": "1", "count/secrets": "5"}}});
    client.post(path, &quota).await.expect(201);
    let used = || async { client.get(&format!("{path}/q")).await.expect(200)["status"]["used"].clone() };
    let at_first = used().await;
    assert_eq!((&at_first["configmaps"], &at_first["pods"]), (&json!("1"), &json!("0")));
    client.post(MAPS, &config_map("one", &json!({}), &json!({}))).await.expect(201);
    let refused = client.post(MAPS, &config_map("two", &json!({}), &json!({}))).await.expect(403);
    assert_eq!(
        refused["message"],
        "configmaps \"two\" is forbidden: exceeded quota: q, requested: configmaps=1, used: configmaps=2, limited: configmaps=2"
    );
    client
        .post(&format!("{MAPS}?dryRun=All"), &config_map("three", &json!({}), &json!({})))
        .await
        .expect(403);
    client.delete(&format!("{MAPS}/one")).await.expect(200);
    assert_eq!(used().await["configmaps"], "1", "what is deleted is given back");
    let taken = client.post(MAPS, &config_map("before", &json!({}), &json!({}))).await;
    assert_eq!(taken.code, 409);
    assert_eq!(used().await["configmaps"], "1", "what was not stored is given back");

    let unsized_pod = client.post(PODS, &pod("p", &json!({}))).await.expect(403);
    assert_eq!(
        unsized_pod["message"],
        "pods \"p\" is forbidden: failed quota: q: must specify requests.cpu for: c"
    );
    client.post(PODS, &sized("p", "800m")).await.expect(201);
    let full = client.post(PODS, &sized("r", "300m")).await.expect(403);
    assert_eq!(
        full["message"],
        "pods \"r\" is forbidden: exceeded quota: q, requested: pods=1,requests.cpu=300m, used: pods=1,requests.cpu=800m, limited: pods=1,requests.cpu=1"
    );
    let ended = json!({"status": {"phase": "Succeeded"}});
    client.patch(&format!("{PODS}/p/status"), "merge", &ended).await.expect(200);
    assert_eq!(used().await["requests.cpu"], "0", "a pod that has ended uses nothing");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn default_and_runtime_classes_are_taken_over() {
    let server = TestServer::start().await;
    let client = server.admin();
    service_account(&client, "default", "default").await;
    let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "p", "metadata":
        {"name": "fast", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}});
    client.post("/apis/storage.k8s.io/v1/storageclasses", &class).await.expect(201);
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c"}, "spec":
        {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    let made = client.post("/api/v1/namespaces/default/persistentvolumeclaims", &claim).await.expect(201);
    assert_eq!(made["spec"]["storageClassName"], "fast");
    let runtime = json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "handler": "vm",
        "metadata": {"name": "vm"}, "overhead": {"podFixed": {"memory": "64Mi"}},
        "scheduling": {"nodeSelector": {"kind": "vm"}}});
    client.post("/apis/node.k8s.io/v1/runtimeclasses", &runtime).await.expect(201);
    let made = client.post(PODS, &pod("p", &json!({"runtimeClassName": "vm"}))).await.expect(201);
    assert_eq!(made["spec"]["overhead"]["memory"], "64Mi");
    assert_eq!(made["spec"]["nodeSelector"]["kind"], "vm");
    let unknown = client.post(PODS, &pod("q", &json!({"runtimeClassName": "none"}))).await.expect(403);
    assert_eq!(unknown["message"], "pods \"q\" is forbidden: pod rejected: RuntimeClass \"none\" not found");
    server.stop().await;
}
