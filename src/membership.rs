//! This server's member of the store among the others: where it listens, and what its directory remembers.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use mainstay_store::{ClusterConfig, InitialMember, InitialState, PeerTls, Store, TcpTransport};
use serde::{Deserialize, Serialize};
use tracing::info;

use crate::config::{Config, MemberSettings};
use crate::data_dir::{DataDir, write_atomically};
use crate::identities::PEERS_TRUSTED;
use crate::join::Peer;
use crate::refusal::refuse;

const FILE: &str = "server.json";
/// A leader that dies is replaced after about this; etcd's default is twice as long (docs/decisions/0045).
const ELECTION_TIMEOUT: Duration = Duration::from_millis(500);
const HEARTBEAT: Duration = Duration::from_millis(100);

/// `server.json`: marks the directory as that of a server among others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct MemberFile {
    /// Where the other members reach this one.
    pub(crate) peer_url: String,
    /// Whether it joined a cluster that was there.
    pub(crate) joined: bool,
    /// The members that it joined.
    pub(crate) others: Vec<Peer>,
}

impl MemberFile {
    /// Whether a directory is that of such a server.
    pub(crate) fn exists(path: &std::path::Path) -> bool {
        path.join(FILE).exists()
    }

    /// Reads it; none where the directory is not that of such a server.
    ///
    /// # Errors
    /// The disk's, or a file that is damaged.
    pub(crate) fn read(path: &std::path::Path) -> anyhow::Result<Option<Self>> {
        let file = path.join(FILE);
        let reading = || format!("reading {}", file.display());
        match fs::read(&file) {
            Ok(text) => serde_json::from_slice(&text).map(Some).with_context(reading),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(reading),
        }
    }

    /// Writes it.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn write(&self, dir: &DataDir) -> anyhow::Result<()> {
        let text = serde_json::to_vec_pretty(self).context("writing the server's settings")?;
        write_atomically(&dir.join(FILE), &text, 0o644)
    }

    /// What the directory says, brought up to date with the flags; the first server's is made here.
    fn ensure(dir: &DataDir, peer_url: &str) -> anyhow::Result<Self> {
        let held = Self::read(dir.path())?;
        let wanted = match held.clone() {
            Some(held) => Self { peer_url: peer_url.to_owned(), ..held },
            None => Self { peer_url: peer_url.to_owned(), joined: false, others: Vec::new() },
        };
        if held.as_ref() != Some(&wanted) {
            wanted.write(dir)?;
        }
        Ok(wanted)
    }
}

/// The URL under which other members reach a server.
pub(crate) fn peer_url(node_ip: IpAddr, port: u16) -> String {
    format!("https://{}", SocketAddr::new(node_ip, port))
}

/// This member's place, with its peer port open.
///
/// # Errors
/// The port, or a certificate.
pub(crate) async fn place(
    config: &Config,
    member: &MemberSettings,
    dir: &DataDir,
) -> anyhow::Result<ClusterConfig> {
    let url = peer_url(config.node_ip, member.peer_bind.port());
    let file = MemberFile::ensure(dir, &url)?;
    let pki = |name: &str| dir.join("pki").join(name);
    let tls = PeerTls::load(pki("peer.crt"), pki("peer.key"), dir.join(PEERS_TRUSTED))
        .map_err(|error| refuse(error.to_string()))?;
    let transport = TcpTransport::bind_tls(&[member.peer_bind], tls).await;
    let transport = transport.map_err(|error| refuse(format!("{:#}", anyhow::Error::new(error))))?;
    let name = config.cluster.node_name.clone();
    let own = InitialMember { name: name.clone(), peer_urls: vec![url] };
    let others =
        file.others.into_iter().map(|other| InitialMember { name: other.name, peer_urls: other.peer_urls });
    Ok(ClusterConfig {
        client_urls: vec![format!("https://{}", SocketAddr::new(config.node_ip, config.bind.port()))],
        token: "mainstay".to_owned(),
        state: if file.joined { InitialState::Existing } else { InitialState::New },
        heartbeat_interval: HEARTBEAT,
        election_timeout: ELECTION_TIMEOUT,
        ..ClusterConfig::new(name, std::iter::once(own).chain(others), Arc::new(transport))
    })
}

/// Tells the others where this member is reached now: a store that was alone so far has no address.
///
/// # Errors
/// The members do not agree.
pub(crate) async fn publish_address(store: &Store, url: &str) -> anyhow::Result<()> {
    let own = store.member_id();
    let members = store.members(false).await.context("reading the members of the store")?;
    let listed = members.iter().any(|member| member.id == own && member.peer_urls == [url]);
    if !listed && members.iter().any(|member| member.id == own) {
        store
            .member_update(own, vec![url.to_owned()])
            .await
            .context("telling the other servers this one's address")?;
        info!(url, "this server's member of the store is reached at another address now");
    }
    Ok(())
}
