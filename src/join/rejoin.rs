//! A server whose cluster was restored or recovered without it, and goes on as another one: it joins that by itself, with the keys that it has. Of
//! its directory only the store is another one then; the one before is kept beside it.
//!
//! It never does this on anybody's word but that of a member that has the keys of its own cluster.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use mainstay_base::lifecycle::{Clock as _, SystemClock};
use mainstay_store::{ClusterError, Member};
use tracing::{info, warn};

use super::agent::short;
use super::pinned::Pinned;
use super::server::{Joiner, ask, is_authority, register};
use super::wire::open;
use super::{Invitation, SERVERS};
use crate::clients::{ApiEndpoint, settings};
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::identities::Identities;
use crate::membership::{MemberFile, peer_url};
use crate::refusal::refuse;
use crate::token::server_token;

/// The store that was there before, as after a restore.
const REPLACED: &str = "store.replaced";
/// A node counts as alive for 40 s after it was last heard of, and this machine's own may have been heard of just before the snapshot.
const TROUBLE_MAX: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_secs(1);

/// The store's member counts for nothing any more; the other servers, by what it knew, may be those of the cluster that it is to join.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub(crate) struct Superseded {
    servers: Vec<SocketAddr>,
    why: ClusterError,
}

/// The API servers of other members than `own`.
pub(crate) fn other_servers(members: &[Member], own: u64) -> Vec<SocketAddr> {
    let others = members.iter().filter(|member| member.id != own);
    let urls = others.flat_map(|member| &member.client_urls);
    urls.filter_map(|url| url.strip_prefix("https://")?.parse().ok()).collect()
}

/// An error of a member that waited for `servers`, as what it is.
pub(crate) fn superseded(why: ClusterError, servers: Vec<SocketAddr>) -> anyhow::Error {
    match &why {
        ClusterError::Halted(halt) if halt.is_superseded() && !servers.is_empty() => {
            Superseded { servers, why }.into()
        }
        _ => why.into(),
    }
}

/// Joins the cluster that has taken the place of this server's. Interrupted, it is done again by the next start.
///
/// # Errors
/// None of the servers takes this one, with the last one's reason; or the disk's. The directory is as it was.
pub(crate) async fn rejoin(
    lost: &Superseded,
    config: &Config,
    identities: &Identities,
    dir: &DataDir,
) -> anyhow::Result<()> {
    warn!(servers = ?lost.servers, "the cluster was recovered or restored without this server: it joins it again, with what it has");
    let began = SystemClock.now();
    loop {
        let mut why = None;
        for server in &lost.servers {
            match through(*server, config, identities, dir).await {
                Ok(()) => return Ok(()),
                Err(error) => why = Some(error.context(format!("joining again through {server}"))),
            }
        }
        let why = why.context("no other server is known")?;
        if SystemClock.now() - began > TROUBLE_MAX {
            return Err(refuse(format!("{}: {why:#}", lost.why)));
        }
        info!(why = format!("{why:#}"), "this server could not join again yet; it is tried again");
        tokio::time::sleep(AGAIN).await;
    }
}

async fn through(
    server: SocketAddr,
    config: &Config,
    identities: &Identities,
    dir: &DataDir,
) -> anyhow::Result<()> {
    let member = config.member.as_ref().context("only a server among others joins again")?;
    let name = &config.cluster.node_name;
    let url = format!("https://{server}");
    let endpoint = ApiEndpoint { url: &url, ca_pem: &identities.ca_pem };
    let mut settings = settings(&endpoint, "mainstay", &identities.admin).await?;
    settings.default_retry = false; // another server may answer
    let client = kube::Client::try_from(settings).context("making the API client")?;
    let token = server_token(&client, &identities.ca_pem, name, SystemClock.wall()).await?;
    let invitation = Invitation { server, token };
    let pinned = Pinned::new(&invitation)?;
    let joiner = Joiner {
        data_dir: &config.data_dir,
        node_name: name,
        node_ip: config.node_ip,
        peer_bind: member.peer_bind,
        api_port: config.bind.port(),
        runs_agent: member.runs_agent,
        has_encryption: config.api_server.encryption.is_some(),
    };
    let own_url = peer_url(config.node_ip, member.peer_bind.port());
    let answer = ask(&pinned, &joiner, &own_url).await?;
    let checked = async {
        let keys = open(&answer.sealed, &invitation.token.secret)?;
        if !is_authority(&keys, &identities.ca_pem)? {
            return Err(refuse(
                "it has another authority than this server: move the data directory away, and let it join again",
            ));
        }
        if member.runs_agent {
            let range = register(server, &joiner, &identities.ca_pem, &keys).await.map_err(short)?;
            if range != config.cluster.pod_cidr() {
                return Err(refuse(format!(
                    "the cluster has given this node's pod addresses away: run `mainstay down`, move {} away, and let it join again",
                    config.data_dir.display()
                )));
            }
        }
        anyhow::Ok(())
    };
    if let Err(why) = checked.await {
        let path = format!("{SERVERS}?name={own_url}");
        if let Err(error) = pinned.call(http::Method::DELETE, &path, Vec::new()).await {
            warn!(%error, "the cluster keeps a member that has not started: remove it with `mainstay server remove`");
        }
        return Err(why);
    }
    MemberFile { peer_url: own_url, joined: true, others: answer.members }.write(dir)?;
    put_aside(dir)?;
    info!(%server, "this server has joined again; its store of before is kept as {REPLACED}");
    Ok(())
}

/// Makes room for another store.
fn put_aside(dir: &DataDir) -> anyhow::Result<()> {
    let (store, kept) = (dir.join("store"), dir.join(REPLACED));
    let doing = || format!("moving {} to {}", store.display(), kept.display());
    match fs::remove_dir_all(&kept) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error).with_context(doing),
        _ => {}
    }
    fs::rename(&store, &kept).with_context(doing)?;
    File::open(dir.path()).and_then(|dir| dir.sync_all()).with_context(doing)
}
