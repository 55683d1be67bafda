//! `mainstay agent --join`: a machine becomes a node.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use mainstay_base::lifecycle::{Clock as _, SystemClock};
use mainstay_base::pki::{Leaf, pins};

use super::pinned::Pinned;
use super::wire::Facts;
use super::{Invitation, checks, files, node};
use crate::agent_files::{AgentFile, CA, KUBELET, NODE};
use crate::config::{Cluster, FORMAT_VERSION, new_id};
use crate::data_dir::DataDir;
use crate::refusal::refuse;
use crate::{node_address, preflight};

/// A node counts as silent after this time, and a little more.
const SILENT_AFTER: Duration = Duration::from_secs(45);
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Makes the empty directory at `path` that of a node of the cluster. Nothing is there if it fails.
///
/// # Errors
/// A refusal that says what is in the way.
pub(crate) async fn join_as_agent(
    invitation: &Invitation,
    path: &Path,
    node_name: &str,
    node_ip: Option<IpAddr>,
) -> anyhow::Result<()> {
    let node_ip = node_ip.map_or_else(|| node_address::towards(invitation.server), Ok)?;
    let pinned = Pinned::new(invitation)?;
    let (facts, ca_pem) = ask_facts(&pinned, node_name).await?;
    let ca_pem = trusted(&facts, ca_pem)?;
    let mut cluster = Cluster {
        format_version: FORMAT_VERSION,
        id: new_id(),
        node_name: node_name.to_owned(),
        cluster_cidr: facts.cluster_cidr,
        service_cidr: facts.service_cidr,
        pod_cidr: None,
    };
    preflight::check_ranges(&cluster)?;
    let made = certify(invitation, &facts, &ca_pem, node_name, node_ip).await?;
    cluster.pod_cidr = Some(made.pod_cidr);
    let dir = DataDir::begin_joining(path)?;
    files::write_all(&dir, &made.files)?;
    made.agent.write(&dir)?;
    dir.finish_joining(&cluster)
}

/// Gives a node of the cluster new certificates, whose own have ended: it is what it was. Nothing is changed if it fails.
///
/// # Errors
/// A refusal that says what is in the way.
pub(crate) async fn rejoin_as_agent(
    invitation: &Invitation,
    path: &Path,
    cluster: &Cluster,
    node_ip: IpAddr,
) -> anyhow::Result<()> {
    let pinned = Pinned::new(invitation)?;
    let mut asked = fetch_facts(&pinned, &cluster.node_name).await?;
    // It may be this node itself that was alive a moment ago.
    let began = SystemClock.now();
    while asked.0.node_is_alive && SystemClock.now() - began < SILENT_AFTER {
        tokio::time::sleep(LOOK_AGAIN).await;
        asked = fetch_facts(&pinned, &cluster.node_name).await?;
    }
    let (facts, ca_pem) = fitting(asked, &cluster.node_name)?;
    let ca_pem = trusted(&facts, ca_pem)?;
    if (facts.cluster_cidr, facts.service_cidr) != (cluster.cluster_cidr, cluster.service_cidr) {
        return Err(refuse(format!(
            "the server is of another cluster than {}: check address and token",
            path.display()
        )));
    }
    let made = certify(invitation, &facts, &ca_pem, &cluster.node_name, node_ip).await?;
    if made.pod_cidr != cluster.pod_cidr() {
        return Err(refuse(format!(
            "the cluster has given this node's pod addresses away: join anew, with another --data-dir than {}",
            path.display()
        )));
    }
    let dir = DataDir::take(path, cluster)?;
    files::write_all(&dir, &made.files)?;
    made.agent.write(&dir)
}

/// What makes a machine a node.
struct Certified {
    pod_cidr: ipnet::Ipv4Net,
    files: BTreeMap<String, String>,
    agent: AgentFile,
}

/// Has the cluster make this machine a node: its two certificates, its object, its addresses.
async fn certify(
    invitation: &Invitation,
    facts: &Facts,
    ca_pem: &str,
    node_name: &str,
    node_ip: IpAddr,
) -> anyhow::Result<Certified> {
    let token = invitation.token.bearer();
    let bootstrap = client(invitation.server, ca_pem, |auth| auth.token = Some(token.into()))?;
    let own = node::client_certificate(&bootstrap, node_name).await.map_err(short)?;
    let as_node = client(invitation.server, ca_pem, |auth| identify(auth, &own))?;
    let pod_cidr = node::register(&as_node, node_name, node_ip).await.map_err(short)?;
    let serving = node::serving_certificate(&as_node, node_name, node_ip).await.map_err(short)?;
    let mut files = BTreeMap::from([(CA.to_owned(), ca_pem.to_owned())]);
    for (name, leaf) in [(NODE, own), (KUBELET, serving)] {
        files.insert(format!("{name}.crt"), leaf.certificate_pem);
        files.insert(format!("{name}.key"), leaf.key_pem);
    }
    Ok(Certified {
        pod_cidr,
        files,
        agent: AgentFile { servers: servers(facts, invitation.server), node_ip },
    })
}

/// What the server tells everybody with a token, once it was found to fit.
pub(super) async fn ask_facts(pinned: &Pinned<'_>, node_name: &str) -> anyhow::Result<(Facts, String)> {
    fitting(fetch_facts(pinned, node_name).await?, node_name)
}

async fn fetch_facts(pinned: &Pinned<'_>, node_name: &str) -> anyhow::Result<(Facts, String)> {
    let path = format!("{}?node={node_name}", super::desk::FACTS);
    let body = pinned.call(Method::GET, &path, Vec::new()).await?;
    let facts: Facts = serde_json::from_slice(&body).map_err(|error| {
        refuse(format!("the server's answer is of another version ({error}): use the same mainstay"))
    })?;
    Ok((facts, pinned.ca_pem().context("the server showed no authority")?))
}

fn fitting((facts, ca_pem): (Facts, String), node_name: &str) -> anyhow::Result<(Facts, String)> {
    let now = i64::try_from(SystemClock.wall().unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX);
    match checks::problem(&facts, mainstay_base::version(), now, node_name) {
        Some(problem) => Err(refuse(problem)),
        None => Ok((facts, ca_pem)),
    }
}

/// The authorities to trust: those that the server tells, the one that was pinned among them.
fn trusted(facts: &Facts, pinned: String) -> anyhow::Result<String> {
    if facts.authorities.is_empty() {
        return Ok(pinned);
    }
    if !pins(&facts.authorities)?.contains(&pins(&pinned)?.concat()) {
        return Err(refuse("the server trusts another authority than it has: this is not a cluster to join"));
    }
    Ok(facts.authorities.clone())
}

/// The servers to use, the one that was asked first.
fn servers(facts: &Facts, asked: SocketAddr) -> Vec<SocketAddr> {
    let told = facts.servers.iter().filter_map(|text| text.parse().ok());
    let mut servers: Vec<SocketAddr> = std::iter::once(asked).chain(told).collect();
    let mut seen = std::collections::BTreeSet::new();
    servers.retain(|server| seen.insert(*server));
    servers
}

/// A client of one server.
pub(super) fn client(
    server: SocketAddr,
    ca_pem: &str,
    identify: impl FnOnce(&mut kube::config::AuthInfo),
) -> anyhow::Result<kube::Client> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    let mut config = kube::Config::new(format!("https://{server}").parse().context("making the API client")?);
    let authorities = CertificateDer::pem_slice_iter(ca_pem.as_bytes()).map(|ca| ca.map(|ca| ca.to_vec()));
    config.root_cert =
        Some(authorities.collect::<Result<_, _>>().context("reading the cluster's authority")?);
    identify(&mut config.auth_info);
    kube::Client::try_from(config).context("making the API client")
}

/// Sets a client certificate.
pub(super) fn identify(auth: &mut kube::config::AuthInfo, leaf: &Leaf) {
    auth.client_certificate_data = Some(STANDARD.encode(&leaf.certificate_pem));
    auth.client_key_data = Some(STANDARD.encode(&leaf.key_pem).into());
}

/// A refusal by the cluster while joining; nothing was kept here.
#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn short(error: anyhow::Error) -> anyhow::Error {
    refuse(format!("{error:#}").replace('\n', " "))
}
