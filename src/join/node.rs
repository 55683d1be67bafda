//! What makes a machine a node: its certificates by request, its Node object, its range of pod addresses.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use futures::TryStreamExt as _;
use ipnet::Ipv4Net;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use k8s_openapi::api::core::v1::{Node, NodeAddress, NodeStatus};
use kube::api::{ObjectMeta, PostParams, WatchEvent, WatchParams};
use kube::{Api, Client};
use mainstay_base::pki::{Leaf, SigningRequest, SubjectName};
use rand::Rng as _;

const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const SERVING_SIGNER: &str = "kubernetes.io/kubelet-serving";
const ORGANIZATION: &str = "system:nodes";
/// The controllers may be changing places.
const ISSUED_WITHIN: Duration = Duration::from_secs(30);
const RANGE_WITHIN: Duration = Duration::from_secs(30);

/// A certificate for the node as a client; `client` may ask for it.
pub(super) async fn client_certificate(client: &Client, node_name: &str) -> anyhow::Result<Leaf> {
    let request = SigningRequest::new(&format!("system:node:{node_name}"), ORGANIZATION, &[])?;
    certificate(client, node_name, CLIENT_SIGNER, "client auth", request).await
}

/// A certificate for the node's own server; `client` is the node itself, whose Node object has these addresses.
pub(super) async fn serving_certificate(
    client: &Client,
    node_name: &str,
    node_ip: IpAddr,
) -> anyhow::Result<Leaf> {
    let names = [SubjectName::Dns(node_name.to_owned()), SubjectName::Ip(node_ip)];
    let request = SigningRequest::new(&format!("system:node:{node_name}"), ORGANIZATION, &names)?;
    certificate(client, node_name, SERVING_SIGNER, "server auth", request).await
}

async fn certificate(
    client: &Client,
    node_name: &str,
    signer: &str,
    usage: &str,
    request: SigningRequest,
) -> anyhow::Result<Leaf> {
    let api = Api::<CertificateSigningRequest>::all(client.clone());
    let name = format!("node-csr-{node_name}-{:08x}", rand::rng().random::<u32>());
    let object = CertificateSigningRequest {
        metadata: ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() },
        spec: CertificateSigningRequestSpec {
            request: ByteString(request.request_pem.into_bytes()),
            signer_name: signer.to_owned(),
            usages: Some(vec!["digital signature".to_owned(), usage.to_owned()]),
            ..CertificateSigningRequestSpec::default()
        },
        status: None,
    };
    let doing = || format!("asking for a certificate of {signer}");
    let created = api.create(&PostParams::default(), &object).await.with_context(doing)?;
    let issued = awaited(&api, &name, created, ISSUED_WITHIN, |request: &CertificateSigningRequest| {
        let status = request.status.as_ref()?;
        let ended =
            status.conditions.iter().flatten().find(|one| matches!(one.type_.as_str(), "Denied" | "Failed"));
        if let Some(ended) = ended {
            return Some(Err(anyhow::anyhow!(
                "{}: {}",
                ended.type_,
                ended.message.clone().unwrap_or_default()
            )));
        }
        let text = String::from_utf8(status.certificate.as_ref()?.0.clone()).ok()?;
        (!text.is_empty()).then_some(Ok(text))
    });
    let certificate_pem = issued.await.with_context(doing)??;
    Ok(Leaf { certificate_pem, key_pem: request.key_pem })
}

/// The Node object with its address, made where it is missing, and the range that the cluster has given it.
pub(super) async fn register(client: &Client, node_name: &str, node_ip: IpAddr) -> anyhow::Result<Ipv4Net> {
    let api = Api::<Node>::all(client.clone());
    let doing = || format!("registering the node {node_name}");
    let address = |kind: &str, text: String| NodeAddress { type_: kind.to_owned(), address: text };
    let addresses =
        vec![address("InternalIP", node_ip.to_string()), address("Hostname", node_name.to_owned())];
    let node = Node {
        metadata: ObjectMeta { name: Some(node_name.to_owned()), ..ObjectMeta::default() },
        status: Some(NodeStatus { addresses: Some(addresses.clone()), ..NodeStatus::default() }),
        ..Node::default()
    };
    let present = match api.create(&PostParams::default(), &node).await {
        Ok(created) => created,
        Err(kube::Error::Api(status)) if status.code == 409 => {
            // A node that comes back, perhaps with another address.
            let patch = serde_json::json!({"status": {"addresses": addresses}});
            let patch = kube::api::Patch::Merge(patch);
            api.patch_status(node_name, &kube::api::PatchParams::default(), &patch)
                .await
                .with_context(doing)?
        }
        Err(error) => return Err(error).with_context(doing),
    };
    let range = awaited(&api, node_name, present, RANGE_WITHIN, |node: &Node| {
        node.spec.as_ref()?.pod_cidr.as_deref().filter(|range| !range.is_empty()).map(str::to_owned)
    });
    let range = range.await.context(
        "the cluster gave this node no range of pod addresses: is one left (kubectl get events), and do the controllers run?",
    )?;
    range.parse().with_context(|| format!("the cluster gave this node {range:?}, which is no IPv4 range"))
}

/// Watches one object until `look` finds what it looks for.
async fn awaited<K, T>(
    api: &Api<K>,
    name: &str,
    first: K,
    within: Duration,
    look: impl Fn(&K) -> Option<T>,
) -> anyhow::Result<T>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    if let Some(found) = look(&first) {
        return Ok(found);
    }
    let version = first.meta().resource_version.clone().unwrap_or_default();
    let watch = async {
        let params = WatchParams::default().fields(&format!("metadata.name={name}")).timeout(60);
        let mut events = std::pin::pin!(api.watch(&params, &version).await?);
        while let Some(event) = events.try_next().await? {
            if let WatchEvent::Added(object) | WatchEvent::Modified(object) = event
                && let Some(found) = look(&object)
            {
                return Ok(found);
            }
        }
        bail!("the watch ended")
    };
    tokio::time::timeout(within, watch).await.map_err(|_elapsed| {
        anyhow::anyhow!("nothing came within {} s: do the controllers run?", within.as_secs())
    })?
}

/// A new certificate, asked for by the node itself: for its own server if that has an address, else for the node as a client.
pub(crate) async fn renew(client: &Client, node_name: &str, serving: Option<IpAddr>) -> anyhow::Result<Leaf> {
    match serving {
        Some(node_ip) => serving_certificate(client, node_name, node_ip).await,
        None => client_certificate(client, node_name).await,
    }
}
