//! A kube-rs program that lists and watches.

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt};

use crate::cluster::Cluster;

async fn client(cluster: &Cluster) -> Client {
    drop(rustls::crypto::ring::default_provider().install_default()); // another test of this program may have done it
    let kubeconfig = Kubeconfig::read_from(cluster.data_dir().join("admin.kubeconfig")).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

#[tokio::test]
async fn a_kube_rs_program_lists_and_watches() {
    let cluster = Cluster::start();
    let api: Api<ConfigMap> = Api::default_namespaced(client(&cluster).await);
    let named = |name: &str| ConfigMap {
        metadata: kube::core::ObjectMeta { name: Some(name.to_owned()), ..Default::default() },
        ..ConfigMap::default()
    };
    api.create(&PostParams::default(), &named("before")).await.unwrap();
    let list = api.list(&ListParams::default().limit(1)).await.unwrap();
    assert_eq!(list.items.len(), 1);
    let all = api.list(&ListParams::default()).await.unwrap();
    let version = all.metadata.resource_version.clone().unwrap();

    let watch = api.watch(&WatchParams::default().timeout(20), &version).await.unwrap();
    api.create(&PostParams::default(), &named("after")).await.unwrap();
    api.delete("after", &DeleteParams::default()).await.unwrap();
    let seen: Vec<String> = watch
        .try_filter_map(|event| async move {
            Ok(match event {
                WatchEvent::Added(object) => Some(format!("added {}", object.name_any())),
                WatchEvent::Deleted(object) => Some(format!("deleted {}", object.name_any())),
                _ => None,
            })
        })
        .take(2)
        .try_collect()
        .await
        .unwrap();
    assert_eq!(seen, ["added after", "deleted after"]);
}
