//! Disruption budgets: the controller counts, evictions take from the count.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{EvictParams, ListParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::plane::{Plane, eventually};

fn object<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

fn allowed(budgets: &[PodDisruptionBudget]) -> Option<i32> {
    let status = budgets.first()?.status.as_ref()?;
    // Zero is not written; the generation says that the controller has looked.
    status.observed_generation.map(|_| status.disruptions_allowed.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn budgets_count_what_deployments_want_and_evictions_take_from_them() {
    let plane = Plane::start(&["a", "b"]).await;
    let client = plane.admin();
    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let budgets: Api<PodDisruptionBudget> = Api::default_namespaced(client.clone());
    let web: Deployment = object(json!({"metadata": {"name": "web"}, "spec": {
        "replicas": 4, "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "web:1"}]}}}}));
    deployments.create(&PostParams::default(), &web).await.unwrap();
    let budget: PodDisruptionBudget = object(json!({"metadata": {"name": "web"},
        "spec": {"maxUnavailable": "25%", "selector": {"matchLabels": {"app": "web"}}}}));
    budgets.create(&PostParams::default(), &budget).await.unwrap();
    let counted = eventually(&budgets, "one of four may go", |all| allowed(all) == Some(1)).await;
    let status = counted[0].status.clone().unwrap();
    assert_eq!(
        (status.expected_pods, status.desired_healthy, status.current_healthy),
        (Some(4), Some(3), Some(4))
    );
    let all = pods.list(&ListParams::default()).await.unwrap().items;
    pods.evict(&all[0].name_any(), &EvictParams::default()).await.unwrap();
    eventually(&budgets, "the next one may go", |all| allowed(all) == Some(1)).await;
    plane.stop().await;
}
