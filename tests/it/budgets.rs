//! Disruption budgets: the controller counts, evictions and drains keep to the count.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{EvictParams, ListParams, Patch, PatchParams, PostParams};
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

fn ready(pods: &[Pod]) -> usize {
    let is_ready = |pod: &&Pod| {
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
        pod.metadata.deletion_timestamp.is_none()
            && conditions.iter().any(|one| one.type_ == "Ready" && one.status == "True")
    };
    pods.iter().filter(is_ready).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evictions_and_drains_keep_to_budgets() {
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
        "spec": {"maxUnavailable": 0, "selector": {"matchLabels": {"app": "web"}}}}));
    budgets.create(&PostParams::default(), &budget).await.unwrap();
    eventually(&pods, "four pods are ready", |pods| ready(pods) == 4).await;
    let counted = eventually(&budgets, "all four are counted", |all| {
        allowed(all) == Some(0) && all[0].status.as_ref().and_then(|status| status.current_healthy) == Some(4)
    })
    .await;
    let status = counted[0].status.clone().unwrap();
    assert_eq!((status.expected_pods, status.desired_healthy), (Some(4), Some(4)));
    let all = pods.list(&ListParams::default()).await.unwrap().items;
    let refused = pods.evict(&all[0].name_any(), &EvictParams::default()).await;
    match refused {
        Err(kube::Error::Api(status)) => assert_eq!(
            (status.code, status.message.as_str()),
            (429, "Cannot evict pod as it would violate the pod's disruption budget.")
        ),
        other => panic!("{other:?}"),
    }

    let looser = json!({"spec": {"maxUnavailable": "25%"}});
    budgets.patch("web", &PatchParams::default(), &Patch::Merge(looser)).await.unwrap();
    eventually(&budgets, "one of four may go", |all| allowed(all) == Some(1)).await;
    pods.evict(&all[0].name_any(), &EvictParams::default()).await.unwrap();
    let drained = plane.kubectl(&["drain", "a", "--timeout=60s", "--ignore-daemonsets"]).await;
    assert!(drained.contains("node/a drained"), "{drained}");
    eventually(&pods, "four pods are ready on the other node", |pods| {
        ready(pods) == 4
            && pods
                .iter()
                .all(|pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some("b"))
    })
    .await;
    plane.kubectl(&["uncordon", "a"]).await;
    plane.stop().await;
}
