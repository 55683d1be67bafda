//! What joins a store with other members: who it is, the links, and the loops around them. A store that stays alone has none of it.
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::api::{ClusterError, Config, InitialState, OpenError};
use crate::data_dir::{DataDir, Founder, NewIdentity, has_identity};
use crate::engine::Tables;
use crate::metering::Meters;
use crate::platform::random;
use crate::raft::peers::{Local, PeerEvent, Peers, Server, ask_for_members};
use crate::raft::{Cluster, Desk, Forwarded, Member, MemberNode, Proposals, committed, identity, members_of};
use crate::stop::{StopState, Stopped};

/// So much news of other members waits at most; what is dropped is told again.
const EVENTS_MAX: usize = 64;
/// A request may take this and twice the election timeout; etcd's rule.
const REQUEST_MAX: Duration = Duration::from_secs(5);
/// An election takes at least so many heartbeats; etcd's rule.
const HEARTBEATS_MIN: u32 = 5;

/// A loop of the store.
type Loop = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What the loops take in.
pub(crate) struct Links {
    pub(crate) reads: mpsc::Receiver<oneshot::Sender<Result<(), ClusterError>>>,
    pub(crate) events: Option<mpsc::Receiver<PeerEvent>>,
}

/// The identity that an empty directory gets. A member that joins a cluster asks there who it is.
pub(crate) async fn new_identity(config: &Config) -> Result<Option<NewIdentity>, OpenError> {
    let Some(cluster) = &config.cluster else { return Ok(None) };
    if cluster.election_timeout < cluster.heartbeat_interval * HEARTBEATS_MIN {
        return Err(OpenError::Config(format!(
            "an election timeout of {:?} is too short for heartbeats every {:?}: it must be {HEARTBEATS_MIN} times as long",
            cluster.election_timeout, cluster.heartbeat_interval
        )));
    }
    let members = identity::initial_members(cluster)?;
    if has_identity(&config.dir) {
        return Ok(None);
    }
    if cluster.state == InitialState::Existing {
        let (cluster_id, member_id) = ask_for_members(cluster).await?;
        return Ok(Some(NewIdentity { cluster_id, member_id, joined: true }));
    }
    let cluster_id = identity::cluster_id(members.iter().map(|(id, _)| *id));
    let own = members.into_iter().find(|(_, node)| node.name == cluster.name);
    Ok(own.map(|(member_id, _)| NewIdentity { cluster_id, member_id, joined: false }))
}

/// The members that a new cluster begins with; none if this member joins one.
pub(crate) fn initial_members(
    config: &Config,
    dir: &DataDir,
) -> Result<Option<Vec<(u64, MemberNode)>>, OpenError> {
    match &config.cluster {
        None => Ok(Some(vec![(dir.member_id, MemberNode::default())])),
        Some(_) if dir.joined => Ok(None),
        Some(_) if !dir.founders.is_empty() => {
            let founder = |founder: &Founder| {
                let Founder { id, name, peer_urls } = founder.clone();
                (id, MemberNode { name, peer_urls, ..MemberNode::default() })
            };
            Ok(Some(dir.founders.iter().map(founder).collect()))
        }
        Some(cluster) => Ok(Some(identity::initial_members(cluster)?)),
    }
}

/// The members that a restored cluster begins with; this one must be among them.
pub(crate) fn founders_of_restored(
    config: &Config,
    dir: &DataDir,
) -> Result<Vec<(u64, MemberNode)>, OpenError> {
    let founders = initial_members(config, dir)?.unwrap_or_default();
    if founders.iter().any(|(id, _)| *id == dir.member_id) {
        return Ok(founders);
    }
    Err(OpenError::Config(format!(
        "data directory {} was restored as member {:016x}, which is none of the initial members: restore it with its name and them",
        config.dir.display(),
        dir.member_id
    )))
}

/// A directory of a cluster with several members is not opened without the way to them.
pub(crate) fn check_alone(config: &Config, dir: &DataDir, tables: &Tables) -> Result<(), OpenError> {
    if config.cluster.is_some() {
        return Ok(());
    }
    let damaged = |message| OpenError::Engine { what: "reading the membership", message };
    let members = match tables.membership().map_err(|error| damaged(error.to_string()))? {
        None => dir.founders.len(),
        Some(row) => members_of(&row).map_err(|error| damaged(error.to_string()))?,
    };
    match members {
        0 | 1 => Ok(()),
        count => Err(OpenError::Config(format!(
            "data directory {} is of a cluster of {count} members: open it with its place in the cluster",
            config.dir.display()
        ))),
    }
}

/// The links of a member, not used yet.
pub(crate) fn prepare(
    config: &Config,
    dir: &DataDir,
    stop: &Arc<StopState>,
    meters: &Arc<Meters>,
    proposals: Arc<Proposals>,
) -> (Option<Cluster>, Option<mpsc::Receiver<PeerEvent>>) {
    let Some(cluster) = &config.cluster else { return (None, None) };
    let local = Local { cluster_id: dir.cluster_id, member_id: dir.member_id, instance: random("instance") };
    let (tell, events) = mpsc::channel(EVENTS_MAX);
    let peers = Peers::new(
        local,
        Arc::clone(&cluster.transport),
        CancellationToken::new(),
        Arc::clone(stop),
        cluster.election_timeout,
        tell,
    );
    let cluster = Cluster {
        peers: Arc::new(peers.counting(meters).superseding(&dir.supersedes)),
        proposals,
        name: cluster.name.clone(),
        client_urls: cluster.client_urls.clone(),
        heartbeat_interval: cluster.heartbeat_interval,
        election_timeout: cluster.election_timeout,
        request_max: REQUEST_MAX + 2 * cluster.election_timeout,
        snapshot_entries: cluster.snapshot_entries,
        learners_max: cluster.learners_max,
        strict_reconfig_check: cluster.strict_reconfig_check,
        forwarded_writes: cluster.forwarded_writes.clone(),
    };
    (Some(cluster), Some(events))
}

/// The loops to run until the store stops.
pub(crate) fn loops(config: &Config, cluster_id: u64, member: &Member, links: Links) -> Vec<Loop> {
    let Some((cluster, events)) = member.cluster().zip(links.events) else { return Vec::new() };
    let desk = Arc::new(Desk {
        member: member.clone(),
        dir: config.dir.clone(),
        config: Config { cluster: None, ..config.clone() },
        receiving: tokio::sync::Mutex::new(0),
        forwarded: Forwarded::default(),
    });
    let peers = Arc::clone(&cluster.peers);
    let server = Arc::new(Server::new(Arc::clone(&peers), desk, 2 * cluster.election_timeout));
    peers.spawn(server.run());
    let note = committed::Note::new(Arc::clone(config.platform.disk()), &config.dir, cluster_id);
    vec![
        Box::pin(member.clone().run_reads(links.reads)),
        Box::pin(member.clone().watch_peers(events)),
        Box::pin(member.clone().give_way(Arc::clone(&cluster))),
        Box::pin(member.clone().pulse(Arc::clone(&cluster))),
        Box::pin(member.clone().publish(cluster)),
        Box::pin(member.clone().give_votes()),
        Box::pin(end_links(peers)),
        Box::pin(member.clone().note_committed(note)),
    ]
}

/// A store that stopped by itself answers nobody any more. One that closes lets requests end first.
async fn end_links(peers: Arc<Peers>) {
    peers.store.token().cancelled().await;
    if matches!(peers.store.reason(), Stopped::Halted(_)) {
        peers.end();
    }
}
