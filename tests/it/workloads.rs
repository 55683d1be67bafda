//! What the controllers and the scheduler make of objects.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Pod, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::plane::{Plane, eventually};

fn object<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

fn deployment(replicas: i32) -> Deployment {
    object(json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": "web:1", "ports": [{"containerPort": 80}]}]},
            },
        },
    }))
}

fn image(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.containers[0].image.as_deref()).unwrap_or_default()
}

fn node(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default()
}

fn is_complete(deployment: &Deployment) -> bool {
    let status = deployment.status.clone().unwrap_or_default();
    let wanted = deployment.spec.replicas;
    status.observed_generation == deployment.metadata.generation
        && status.updated_replicas == wanted
        && status.available_replicas == wanted
        && status.replicas == wanted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_spreads_rolls_and_goes_with_all_that_it_owns() {
    let plane = Plane::start(&["a", "b"]).await;
    let client = plane.admin();
    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    deployments.create(&PostParams::default(), &deployment(4)).await.unwrap();
    eventually(&deployments, "four pods available", |all| all.iter().all(is_complete)).await;
    let running = pods.list(&kube::api::ListParams::default()).await.unwrap().items;
    for name in ["a", "b"] {
        assert_eq!(
            running.iter().filter(|pod| node(pod) == name).count(),
            2,
            "pods are spread over the nodes"
        );
    }

    let new_image =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "web:2"}]}}}});
    deployments.patch("web", &PatchParams::default(), &Patch::Strategic(new_image)).await.unwrap();
    eventually(&deployments, "rolled", |all| all.iter().all(is_complete)).await;
    let all = eventually(&pods, "only new pods", |all| all.len() == 4).await;
    assert!(all.iter().all(|pod| image(pod) == "web:2"));
    let sets: Api<ReplicaSet> = Api::default_namespaced(client.clone());
    assert_eq!(sets.list(&kube::api::ListParams::default()).await.unwrap().items.len(), 2, "for undo");

    deployments.delete("web", &DeleteParams::background()).await.unwrap();
    eventually(&sets, "no replica sets", <[_]>::is_empty).await;
    eventually(&pods, "no pods", <[_]>::is_empty).await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_finds_its_pods_and_a_namespace_ends_empty() {
    let plane = Plane::start(&["a"]).await;
    let client = plane.admin();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.create(&PostParams::default(), &object(json!({"metadata": {"name": "shop"}}))).await.unwrap();
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "shop");
    eventually(&accounts, "the default account", |all| {
        all.iter().any(|account| account.name_any() == "default")
    })
    .await;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "shop");
    eventually(&maps, "the root CA", |all| all.iter().any(|map| map.name_any() == "kube-root-ca.crt")).await;

    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "shop");
    deployments.create(&PostParams::default(), &deployment(2)).await.unwrap();
    let services: Api<Service> = Api::namespaced(client.clone(), "shop");
    let service =
        json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}});
    services.create(&PostParams::default(), &object(service)).await.unwrap();
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), "shop");
    let ready = |slice: &EndpointSlice| {
        let endpoints = slice.endpoints.iter().flatten();
        endpoints.filter(|e| e.conditions.as_ref().and_then(|c| c.ready) == Some(true)).count()
    };
    eventually(&slices, "both pods in a slice", |all| all.iter().map(ready).sum::<usize>() == 2).await;

    namespaces.delete("shop", &DeleteParams::default()).await.unwrap();
    let gone = async {
        while namespaces.get_opt("shop").await.unwrap().is_some() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(crate::plane::DEADLINE, gone).await.expect("the namespace goes");
    assert!(slices.list(&kube::api::ListParams::default()).await.unwrap().items.is_empty());
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_fits_nowhere_says_why_and_starts_once_it_fits() {
    let plane = Plane::start(&["a"]).await;
    let client = plane.admin();
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let pod = json!({
        "metadata": {"name": "picky"},
        "spec": {"nodeSelector": {"disk": "ssd"}, "containers": [{"name": "c", "image": "x"}]},
    });
    let accounts: Api<ServiceAccount> = Api::default_namespaced(client.clone());
    eventually(&accounts, "the default account", |all| !all.is_empty()).await;
    pods.create(&PostParams::default(), &object(pod)).await.unwrap();
    let events: Api<Event> = Api::default_namespaced(client.clone());
    eventually(&events, "an event that says why", |all| {
        all.iter().any(|event| {
            event.reason.as_deref() == Some("FailedScheduling")
                && event
                    .message
                    .as_deref()
                    .is_some_and(|text| text.starts_with("0/1 nodes are available: 1 node(s)"))
        })
    })
    .await;
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(client.clone());
    let labels = json!({"metadata": {"labels": {"disk": "ssd"}}});
    nodes.patch("a", &PatchParams::default(), &Patch::Merge(labels)).await.unwrap();
    eventually(&pods, "the pod runs", |all| {
        all.iter().all(|pod| pod.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Running"))
    })
    .await;
    plane.stop().await;
}
