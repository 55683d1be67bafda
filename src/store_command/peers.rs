//! A member's place among others, from etcd's flags.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mainstay_store::{ClusterConfig, InitialMember, InitialState, PeerTls, TcpTransport};

use super::flags::{ClusterState, ServeFlags};
use crate::refusal::refuse;

/// What the flags say about other members, understood but not yet acted on.
pub(crate) struct Peers {
    listen: Vec<String>,
    members: Vec<InitialMember>,
    tls: Option<PeerTls>,
    flags: PeerSettings,
}

struct PeerSettings {
    name: String,
    client_urls: Vec<String>,
    token: String,
    state: InitialState,
    heartbeat_interval: Duration,
    election_timeout: Duration,
    snapshot_entries: u64,
    strict_reconfig_check: bool,
    learners_max: usize,
}

impl Peers {
    /// None for a store that stays alone: no flag is about others, and no peer port is opened.
    ///
    /// # Errors
    /// Flags that contradict each other.
    pub(crate) fn of(flags: &ServeFlags) -> anyhow::Result<Option<Self>> {
        if flags.initial_cluster.is_empty() && flags.listen_peer_urls.is_empty() {
            return Ok(None);
        }
        let members = founders(&flags.name, &flags.initial_cluster, flags.peer_urls())?;
        let own_urls = flags.peer_urls();
        let listen =
            if flags.listen_peer_urls.is_empty() { own_urls } else { flags.listen_peer_urls.clone() };
        let tls = peer_tls(flags)?;
        if let Some(url) = listen.iter().find(|url| url.starts_with("https://") != tls.is_some()) {
            return Err(refuse(format!(
                "{url}: https for members needs --peer-cert-file, --peer-key-file and --peer-trusted-ca-file, http takes none"
            )));
        }
        Ok(Some(Self { listen, members, tls, flags: settings(flags) }))
    }

    /// Listens for the other members.
    ///
    /// # Errors
    /// A URL that cannot be listened on.
    pub(crate) async fn bind(self) -> anyhow::Result<ClusterConfig> {
        let mut addresses = Vec::new();
        for url in &self.listen {
            addresses.extend(resolve(url).await?);
        }
        let transport = match self.tls {
            Some(tls) => TcpTransport::bind_tls(&addresses, tls).await,
            None => TcpTransport::bind(&addresses).await,
        };
        let transport = transport.map_err(|error| refuse(format!("{:#}", anyhow::Error::new(error))))?;
        let PeerSettings {
            name,
            client_urls,
            token,
            state,
            heartbeat_interval,
            election_timeout,
            snapshot_entries,
            strict_reconfig_check,
            learners_max,
        } = self.flags;
        Ok(ClusterConfig {
            client_urls,
            token,
            state,
            heartbeat_interval,
            election_timeout,
            snapshot_entries,
            strict_reconfig_check,
            learners_max,
            ..ClusterConfig::new(name, self.members, Arc::new(transport))
        })
    }
}

fn settings(flags: &ServeFlags) -> PeerSettings {
    PeerSettings {
        name: flags.name.clone(),
        client_urls: flags.advertise_client_urls.clone(),
        token: flags.initial_cluster_token.clone(),
        state: match flags.initial_cluster_state {
            ClusterState::New => InitialState::New,
            ClusterState::Existing => InitialState::Existing,
        },
        heartbeat_interval: Duration::from_millis(flags.heartbeat_interval),
        election_timeout: Duration::from_millis(flags.election_timeout),
        snapshot_entries: flags.snapshot_count,
        strict_reconfig_check: flags.strict_reconfig_check,
        learners_max: flags.max_learners.into(),
    }
}

/// The members that a cluster begins with, checked against what this one says of itself.
///
/// # Errors
/// A list that is none, or that says something else of this member.
pub(crate) fn founders(
    name: &str,
    initial_cluster: &[String],
    mut own_urls: Vec<String>,
) -> anyhow::Result<Vec<InitialMember>> {
    let mut members = initial_members(initial_cluster)?;
    if members.is_empty() {
        members.push(InitialMember { name: name.to_owned(), peer_urls: own_urls.clone() });
    }
    let Some(own) = members.iter().find(|member| member.name == name) else {
        return Err(refuse(format!("--initial-cluster has no member {name:?}, which is this one's --name")));
    };
    let mut told = own.peer_urls.clone();
    told.sort();
    own_urls.sort();
    if told != own_urls {
        return Err(refuse(format!(
            "--initial-cluster has {} for {name:?}, but --initial-advertise-peer-urls has {}",
            told.join(","),
            own_urls.join(",")
        )));
    }
    Ok(members)
}

/// `a=http://x:1,b=http://y:1`; a name that stands twice has two URLs.
fn initial_members(list: &[String]) -> anyhow::Result<Vec<InitialMember>> {
    let mut members: Vec<InitialMember> = Vec::new();
    for item in list {
        let Some((name, url)) =
            item.split_once('=').filter(|(name, url)| !name.is_empty() && !url.is_empty())
        else {
            return Err(refuse(format!("--initial-cluster: {item:?} must be NAME=URL")));
        };
        match members.iter_mut().find(|member| member.name == name) {
            Some(member) => member.peer_urls.push(url.to_owned()),
            None => members.push(InitialMember { name: name.to_owned(), peer_urls: vec![url.to_owned()] }),
        }
    }
    Ok(members)
}

fn peer_tls(flags: &ServeFlags) -> anyhow::Result<Option<PeerTls>> {
    match (&flags.peer_cert_file, &flags.peer_key_file, &flags.peer_trusted_ca_file) {
        (Some(_), Some(_), Some(_)) if flags.peer_client_cert_auth == Some(false) => Err(refuse(
            "--peer-client-cert-auth=false: members on https always check each other's certificates",
        )),
        (Some(cert), Some(key), Some(ca)) => {
            PeerTls::load(cert, key, ca).map(Some).map_err(|error| refuse(error.to_string()))
        }
        (None, None, None) => Ok(None),
        _ => Err(refuse("--peer-cert-file, --peer-key-file and --peer-trusted-ca-file go together")),
    }
}

async fn resolve(url: &str) -> anyhow::Result<Vec<SocketAddr>> {
    let address = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let Some(address) = address else {
        return Err(refuse(format!("--listen-peer-urls: {url} is neither http:// nor https://")));
    };
    let found = tokio::net::lookup_host(address.trim_end_matches('/')).await;
    let found = found.map_err(|error| refuse(format!("--listen-peer-urls: {url}: {error}")))?;
    Ok(found.take(1).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_initial_cluster_is_etcds_list() {
        let list = ["a=http://x:1", "b=http://y:1", "a=http://x:2"].map(str::to_owned);
        let members = initial_members(&list).unwrap();
        assert_eq!(members[0].peer_urls, ["http://x:1", "http://x:2"]);
        assert_eq!((members[1].name.as_str(), members.len()), ("b", 2));
        assert!(initial_members(&["a".to_owned()]).is_err());
    }
}
