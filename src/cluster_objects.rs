//! What this assembly adds to the objects of every cluster: the DNS Service, which leads to the node's own DNS server (the controllers keep its
//! endpoints), and the role of the nodes that are servers.

use anyhow::Context;
use k8s_openapi::api::core::v1::{Node, Service};
use kube::api::{Patch, PatchParams, PostParams};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::Cluster;

const NAMESPACE: &str = "kube-system";
const NAME: &str = "kube-dns";
const CONFLICT: u16 = 409;

/// Creates what is missing; what is there stays as it is.
///
/// # Errors
/// The API server refuses for another reason than that the object exists.
pub(crate) async fn ensure(client: &kube::Client, cluster: &Cluster) -> anyhow::Result<()> {
    create(client, &dns_service(cluster)?).await
}

/// Marks a server's node as one: kubectl shows it as its role. Nothing is kept away from it by that.
///
/// # Errors
/// There is no such node, or the API server refuses.
pub(crate) async fn mark_as_server(client: &kube::Client, node_name: &str) -> anyhow::Result<()> {
    let labels = serde_json::json!({"metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}}});
    let nodes = kube::Api::<Node>::all(client.clone());
    let marked = nodes.patch(node_name, &PatchParams::default(), &Patch::Merge(labels)).await;
    marked.map(drop).with_context(|| format!("giving node {node_name} its role"))
}

async fn create<K>(client: &kube::Client, object: &K) -> anyhow::Result<()>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + Serialize
        + DeserializeOwned,
{
    let api = kube::Api::<K>::namespaced(client.clone(), NAMESPACE);
    let doing = || format!("creating the {} {NAMESPACE}/{NAME}", K::kind(&()));
    // A second Service of this name would be refused for its address, not for its name: look first.
    if api.get_opt(NAME).await.with_context(doing)?.is_some() {
        return Ok(());
    }
    match api.create(&PostParams::default(), object).await {
        Ok(_created) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == CONFLICT => Ok(()),
        Err(error) => Err(error).with_context(doing),
    }
}

fn dns_service(cluster: &Cluster) -> anyhow::Result<Service> {
    from_json(serde_json::json!({
        "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": {
            "k8s-app": NAME, "kubernetes.io/name": "CoreDNS", "kubernetes.io/cluster-service": "true"}},
        "spec": {
            "clusterIP": cluster.dns_service_ip().to_string(),
            "internalTrafficPolicy": "Local",
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53}
            ]
        }
    }))
}

fn from_json<T: DeserializeOwned>(value: serde_json::Value) -> anyhow::Result<T> {
    serde_json::from_value(value).context("building the DNS objects")
}
