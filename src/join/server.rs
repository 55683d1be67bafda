//! `mainstay server --join`: a machine becomes a server of the cluster, with a member of the store.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use http::Method;
use mainstay_base::lifecycle::{Clock as _, SystemClock};
use mainstay_base::pki::{Ca, LeafRequest, Usage, pins};
use tokio_util::bytes::Bytes;
use tracing::{info, warn};

use super::agent::{ask_facts, client, identify, short};
use super::pinned::{AnotherJoins, Pinned};
use super::wire::{ServerAnswer, ServerRequest, open};
use super::{Invitation, files, node};
use crate::authority::NEW_AUTHORITY;
use crate::config::{Cluster, FORMAT_VERSION, new_id};
use crate::data_dir::DataDir;
use crate::encryption;
use crate::membership::{MemberFile, peer_url};
use crate::preflight;
use crate::refusal::refuse;

/// How long the certificate lives with which a server registers its node while it joins.
const REGISTER_VALIDITY: Duration = Duration::from_secs(600);
/// Another server that joins is waited for, until it has surely started, or never will.
const ANOTHER_JOINS_MAX: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(300);

/// What the flags say about the machine.
pub(crate) struct Joiner<'a> {
    pub(crate) data_dir: &'a Path,
    pub(crate) node_name: &'a str,
    pub(crate) node_ip: IpAddr,
    pub(crate) peer_bind: SocketAddr,
    pub(crate) api_port: u16,
    pub(crate) runs_agent: bool,
    /// Whether a flag names a configuration of encryption at rest.
    pub(crate) has_encryption: bool,
}

/// Makes the empty directory that of a server of the cluster. Where it fails, the directory is as it was and the cluster has
/// no new member.
///
/// # Errors
/// A refusal that says what is in the way.
pub(crate) async fn join_as_server(invitation: &Invitation, joiner: &Joiner<'_>) -> anyhow::Result<()> {
    let pinned = Pinned::new(invitation)?;
    let (facts, ca_pem) = ask_facts(&pinned, joiner.node_name).await?;
    if let Some(why) = facts.closed_to_servers {
        return Err(refuse(why));
    }
    let cluster = Cluster {
        format_version: FORMAT_VERSION,
        id: new_id(),
        node_name: joiner.node_name.to_owned(),
        cluster_cidr: facts.cluster_cidr,
        service_cidr: facts.service_cidr,
        pod_cidr: None,
    };
    preflight::check_ranges(&cluster)?;
    let url = peer_url(joiner.node_ip, joiner.peer_bind.port());
    let answer = ask(&pinned, joiner, &url).await?;
    let finished = finish(invitation, joiner, cluster, &ca_pem, &url, answer).await;
    if finished.is_err() {
        let path = format!("{}?name={url}", super::desk::SERVERS);
        if let Err(error) = pinned.call(Method::DELETE, &path, Vec::new()).await {
            warn!(%error, "the cluster keeps a member that has not started: join again, or remove it with `mainstay server remove`");
        }
    }
    finished
}

/// Has the cluster take this machine as a member at `url`.
pub(super) async fn ask(pinned: &Pinned<'_>, joiner: &Joiner<'_>, url: &str) -> anyhow::Result<ServerAnswer> {
    // The server looks whether it reaches this port: something must listen there meanwhile.
    let _listener = TcpListener::bind(joiner.peer_bind)
        .map_err(|error| refuse(format!("--peer-bind {} cannot be used: {error}", joiner.peer_bind)))?;
    let request = ServerRequest {
        name: joiner.node_name.to_owned(),
        peer_url: url.to_owned(),
        version: mainstay_base::version().to_owned(),
        api_port: joiner.api_port,
    };
    let body = serde_json::to_vec(&request).context("asking to join")?;
    let answer = ask_to_join(pinned, &body).await?;
    serde_json::from_slice(&answer).context("reading the server's answer")
}

/// Asks until no other server is joining, in bounded time.
async fn ask_to_join(pinned: &Pinned<'_>, body: &[u8]) -> anyhow::Result<Bytes> {
    let (began, mut is_told) = (SystemClock.now(), false);
    loop {
        let answer = pinned.call(Method::POST, super::desk::SERVERS, body.to_vec()).await;
        match answer {
            Err(error) if error.is::<AnotherJoins>() => {
                if SystemClock.now() - began > ANOTHER_JOINS_MAX {
                    return Err(refuse(error.to_string()));
                }
                if !std::mem::replace(&mut is_told, true) {
                    info!(why = %error, "waiting until another server has joined");
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            answer => return answer,
        }
    }
}

async fn finish(
    invitation: &Invitation,
    joiner: &Joiner<'_>,
    mut cluster: Cluster,
    ca_pem: &str,
    url: &str,
    answer: ServerAnswer,
) -> anyhow::Result<()> {
    let keys = open(&answer.sealed, &invitation.token.secret)?;
    if !is_authority(&keys, ca_pem)? {
        return Err(refuse("the server sent another authority than it has: this is not a cluster to join"));
    }
    if !keys.contains_key(encryption::FILE) && !joiner.has_encryption {
        return Err(refuse(
            "this cluster's encryption at rest is configured by a file: give the same --encryption-provider-config here",
        ));
    }
    if joiner.runs_agent {
        cluster.pod_cidr = Some(register(invitation.server, joiner, ca_pem, &keys).await.map_err(short)?);
    }
    let member = MemberFile { peer_url: url.to_owned(), joined: true, others: answer.members };
    let dir = DataDir::begin_joining(joiner.data_dir)?;
    files::write_all(&dir, &keys)?;
    member.write(&dir)?;
    dir.finish_joining(&cluster)
}

/// Whether `ca_pem`, which the token is of, is the authority that the keys are of; while that is exchanged there are two.
pub(super) fn is_authority(keys: &BTreeMap<String, String>, ca_pem: &str) -> anyhow::Result<bool> {
    let own = keys.get("pki/ca.crt").context("the server sent no authority")?;
    let new = keys.get(NEW_AUTHORITY).map(|text| serde_json::from_str::<serde_json::Value>(text));
    let new = new.transpose().context("reading the new authority")?;
    let new = new.as_ref().and_then(|new| new.get("certificatePem")).and_then(serde_json::Value::as_str);
    let pinned = pins(ca_pem)?;
    for held in std::iter::once(own.as_str()).chain(new) {
        if pins(held)? == pinned {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The node's range of pod addresses, asked for in its own name: a server has the cluster's authority.
pub(super) async fn register(
    server: SocketAddr,
    joiner: &Joiner<'_>,
    ca_pem: &str,
    keys: &BTreeMap<String, String>,
) -> anyhow::Result<ipnet::Ipv4Net> {
    let key = keys.get("pki/ca.key").context("the server sent no key of the authority")?;
    let certificate = keys.get("pki/ca.crt").context("the server sent no authority")?;
    let ca = Ca::from_pem(certificate.clone(), key.clone()).context("using the cluster's authority")?;
    let request = LeafRequest {
        common_name: format!("system:node:{}", joiner.node_name),
        organization: Some("system:nodes".to_owned()),
        names: Vec::new(),
        usage: Usage::Client,
        validity: REGISTER_VALIDITY,
    };
    let leaf = ca.issue(&request, SystemClock.wall()).context("making the node's certificate")?;
    let client = client(server, ca_pem, |auth| identify(auth, &leaf))?;
    node::register(&client, joiner.node_name, joiner.node_ip).await
}
