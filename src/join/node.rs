//! What makes a machine a node: its certificates by request, its Node object, its range of pod addresses.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use futures::TryStreamExt as _;
use ipnet::Ipv4Net;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use k8s_openapi::api::core::v1::{Node, NodeAddress, NodeStatus};
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, Client};
use mainstay_base::lifecycle::{Clock as _, SystemClock};
use mainstay_base::pki::{Leaf, SigningRequest, SubjectName};
use rand::Rng as _;
use time::OffsetDateTime;

const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const SERVING_SIGNER: &str = "kubernetes.io/kubelet-serving";
const ORGANIZATION: &str = "system:nodes";
/// The controllers may be changing places.
const ISSUED_WITHIN: Duration = Duration::from_secs(30);
const RANGE_WITHIN: Duration = Duration::from_secs(30);

/// The annotation of a Node that tells which machine joined as it last.
const JOINING: &str = "mainstay/joining";
/// A node that joins renews its Lease within this time, and holds its name by that.
const JOINS_WITHIN: time::Duration = time::Duration::minutes(2);
const TRIES_MAX: usize = 5;

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
    let own = (JOINING.to_owned(), claim(node_ip, SystemClock.wall()));
    let node = Node {
        metadata: ObjectMeta {
            name: Some(node_name.to_owned()),
            annotations: Some([own].into()),
            ..ObjectMeta::default()
        },
        status: Some(NodeStatus { addresses: Some(addresses.clone()), ..NodeStatus::default() }),
        ..Node::default()
    };
    let present = match api.create(&PostParams::default(), &node).await {
        Ok(created) => created,
        Err(kube::Error::Api(status)) if status.code == 409 => {
            // A node that comes back, perhaps with another address; or one that joins elsewhere at this time.
            take_over(&api, node_name, node_ip).await.with_context(doing)?;
            let patch = serde_json::json!({"status": {"addresses": addresses}});
            api.patch_status(node_name, &PatchParams::default(), &Patch::Merge(patch))
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

/// Notes at a Node that is there that the machine at this address joins as it. Of several machines that do this at once one comes first,
/// and the others see it.
async fn take_over(api: &Api<Node>, node_name: &str, node_ip: IpAddr) -> anyhow::Result<()> {
    for _try in 0..TRIES_MAX {
        let present = api.get(node_name).await?;
        let now = SystemClock.wall();
        let held = present.metadata.annotations.as_ref().and_then(|all| all.get(JOINING));
        if let Some(other) = held.and_then(|held| joins_elsewhere(held, node_ip, now)) {
            bail!(
                "the name {node_name} was taken by the machine at {other}, which joins at this time: choose another --node-name; or, if that \
                 join was given up, try again in {} s",
                JOINS_WITHIN.whole_seconds()
            );
        }
        let patch = serde_json::json!({"metadata": {
            "resourceVersion": present.metadata.resource_version, "annotations": {JOINING: claim(node_ip, now)}
        }});
        match api.patch(node_name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_taken) => return Ok(()),
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(error.into()),
        }
    }
    bail!("the Node is changed again and again: try again")
}

/// Who joins as a node, and since when, Unix seconds.
fn claim(node_ip: IpAddr, now: OffsetDateTime) -> String {
    format!("{node_ip} {}", now.unix_timestamp())
}

/// The other machine that joins as a node at this time, as a [`claim`] tells.
fn joins_elsewhere(held: &str, node_ip: IpAddr, now: OffsetDateTime) -> Option<IpAddr> {
    let (other, since) = held.split_once(' ')?;
    let (other, since): (IpAddr, i64) = (other.parse().ok()?, since.parse().ok()?);
    let is_under_way = now.unix_timestamp() - since < JOINS_WITHIN.whole_seconds();
    (other != node_ip && is_under_way).then_some(other)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_another_machines_while_that_joins() {
        let at = |seconds: i64| OffsetDateTime::from_unix_timestamp(1_764_000_000 + seconds).unwrap();
        let [one, other] = ["192.0.2.1", "2001:db8::1"].map(|ip| ip.parse::<IpAddr>().unwrap());
        let held = claim(one, at(0));
        assert_eq!(joins_elsewhere(&held, other, at(1)), Some(one));
        assert_eq!(joins_elsewhere(&held, other, at(-30)), Some(one), "its clock is ahead");
        assert_eq!(
            joins_elsewhere(&held, one, at(1)),
            None,
            "it is this machine's own, which was interrupted"
        );
        assert_eq!(joins_elsewhere(&held, other, at(120)), None, "it has its Lease by now, or was given up");
        for text in ["", "192.0.2.1", "x 1", "192.0.2.1 x"] {
            assert_eq!(joins_elsewhere(text, other, at(0)), None, "{text:?}");
        }
    }
}
