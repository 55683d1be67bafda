//! `mainstay agent --join`: a machine becomes a node.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use mainstay_base::lifecycle::{Clock as _, SystemClock};
use mainstay_base::pki::Leaf;

use super::pinned::Pinned;
use super::wire::Facts;
use super::{Invitation, checks, files, node};
use crate::agent_files::{AgentFile, CA, KUBELET, NODE};
use crate::config::{Cluster, FORMAT_VERSION, new_id};
use crate::data_dir::DataDir;
use crate::refusal::refuse;
use crate::{node_address, preflight};

/// Makes the empty directory at `path` that of a node of the cluster. Nothing is there if it fails.
///
/// # Errors
/// A refusal that says what is in the way.
pub(crate) async fn join_as_agent(
    invitation: &Invitation,
    path: &Path,
    node_name: &str,
    node_ip: Option<std::net::IpAddr>,
) -> anyhow::Result<()> {
    let node_ip = node_ip.map_or_else(|| node_address::towards(invitation.server), Ok)?;
    let pinned = Pinned::new(invitation)?;
    let (facts, ca_pem) = ask_facts(&pinned, node_name).await?;
    let mut cluster = Cluster {
        format_version: FORMAT_VERSION,
        id: new_id(),
        node_name: node_name.to_owned(),
        cluster_cidr: facts.cluster_cidr,
        service_cidr: facts.service_cidr,
        pod_cidr: None,
    };
    preflight::check_ranges(&cluster)?;
    let bootstrap =
        client(invitation.server, &ca_pem, |auth| auth.token = Some(invitation.token.bearer().into()))?;
    let own = node::client_certificate(&bootstrap, node_name).await.map_err(short)?;
    let as_node = client(invitation.server, &ca_pem, |auth| identify(auth, &own))?;
    cluster.pod_cidr = Some(node::register(&as_node, node_name, node_ip).await.map_err(short)?);
    let serving = node::serving_certificate(&as_node, node_name, node_ip).await.map_err(short)?;
    let agent = AgentFile { servers: servers(&facts, invitation.server), node_ip };
    let mut all = BTreeMap::from([(CA.to_owned(), ca_pem)]);
    for (name, leaf) in [(NODE, own), (KUBELET, serving)] {
        all.insert(format!("{name}.crt"), leaf.certificate_pem);
        all.insert(format!("{name}.key"), leaf.key_pem);
    }
    let dir = DataDir::begin_joining(path)?;
    files::write_all(&dir, &all)?;
    agent.write(&dir)?;
    dir.finish_joining(&cluster)
}

/// What the server tells everybody with a token, once it was found to fit.
pub(super) async fn ask_facts(pinned: &Pinned<'_>, node_name: &str) -> anyhow::Result<(Facts, String)> {
    let path = format!("{}?node={node_name}", super::desk::FACTS);
    let body = pinned.call(Method::GET, &path, Vec::new()).await?;
    let facts: Facts = serde_json::from_slice(&body).map_err(|error| {
        refuse(format!("the server's answer is of another version ({error}): use the same mainstay"))
    })?;
    let ca_pem = pinned.ca_pem().context("the server showed no authority")?;
    let now = i64::try_from(SystemClock.wall().unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX);
    match checks::problem(&facts, env!("CARGO_PKG_VERSION"), now, node_name) {
        Some(problem) => Err(refuse(problem)),
        None => Ok((facts, ca_pem)),
    }
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
    let ca = CertificateDer::from_pem_slice(ca_pem.as_bytes()).context("reading the cluster's authority")?;
    config.root_cert = Some(vec![ca.to_vec()]);
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
