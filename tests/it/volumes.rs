//! Claims and volumes that are used stay until they are not.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::plane::{Plane, eventually};

fn object<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_goes_when_its_last_pod_has_gone() {
    let plane = Plane::start(&["a"]).await;
    let client = plane.admin();
    let claims: Api<PersistentVolumeClaim> = Api::default_namespaced(client.clone());
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let claim: PersistentVolumeClaim = object(json!({"metadata": {"name": "c"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}));
    let made = claims.create(&PostParams::default(), &claim).await.unwrap();
    assert_eq!(made.finalizers(), ["kubernetes.io/pvc-protection"]);
    // Placed by its maker: nothing binds claims here, and the scheduler would wait for that.
    let pod: Pod = object(json!({"metadata": {"name": "p"}, "spec": {
        "nodeName": "a", "terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "web:1"}],
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]}}));
    pods.create(&PostParams::default(), &pod).await.unwrap();
    claims.delete("c", &DeleteParams::default()).await.unwrap();
    let volume: PersistentVolume = object(json!({"metadata": {"name": "v"}, "spec": {
        "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/tmp/v"}}}));
    volumes.create(&PostParams::default(), &volume).await.unwrap();
    volumes.delete("v", &DeleteParams::default()).await.unwrap();
    eventually(&volumes, "a volume that nobody uses goes", <[_]>::is_empty).await;
    assert!(claims.get("c").await.unwrap().metadata.deletion_timestamp.is_some(), "a pod uses it");
    pods.delete("p", &DeleteParams::default().grace_period(0)).await.unwrap();
    eventually(&claims, "the claim goes after its pod", <[_]>::is_empty).await;
    plane.stop().await;
}
