//! One running member of the cluster: consensus, and what this member knows and may do because of it.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openraft::errors::{Fatal, InitializeError, RaftError};
use openraft::type_config::async_runtime::watch::WatchReceiver as _;
use openraft::{Config, Instant as _, RaftState, SnapshotPolicy};
use tokio::sync::{mpsc, watch};

use super::apply_queue::ApplyQueue;
use super::changes;
use super::committed::EntryAt;
use super::leadership;
use super::log::{LogFiles, LogStore};
use super::machine::Machine;
use super::peers::{Network, Peers};
use super::proposals::Proposals;
use super::reads::{Asker, WAITING_MAX};
use super::types::{MemberNode, TypeConfig, is_only_voter};
use crate::api::{self, ForwardedWrites, Leadership, OpenError};
use crate::disk_space::DiskSpace;
use crate::lease::LeaseTable;
use crate::metering::Meters;
use crate::platform::Teller;
use crate::stop::StopState;

pub(super) type Raft = openraft::Raft<TypeConfig, Machine>;

/// A member alone elects itself at once; this bounds how long that may take with a slow disk.
const ELECTION_WAIT: Duration = Duration::from_secs(30);
/// The log that is kept for members that lag is no larger, however few entries that is.
const KEPT_BYTES_MAX: u64 = 256 << 20;

/// In percent of the election timeout: the shortest wait for an election, and the longest, which is also the leader's lease.
const SHORTEST_WAIT: u128 = 40;
const LEASE: u128 = 60;

/// What a member is made of.
pub(crate) struct MemberConfig {
    pub(crate) id: u64,
    /// The members that a new cluster begins with; none if this member joins one.
    pub(crate) initial: Option<Vec<(u64, MemberNode)>>,
    pub(crate) machine: Machine,
    pub(crate) stop: Arc<StopState>,
    pub(crate) leases: Arc<LeaseTable>,
    pub(crate) space: Arc<DiskSpace>,
    pub(crate) meters: Arc<Meters>,
    pub(crate) cluster: Option<Cluster>,
    /// An entry that an earlier process knew to be committed.
    pub(crate) committed: Option<EntryAt>,
}

/// What a member needs that may have others beside it.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) peers: Arc<Peers>,
    pub(crate) proposals: Arc<Proposals>,
    pub(crate) name: String,
    pub(crate) client_urls: Vec<String>,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) election_timeout: Duration,
    /// What a request may take.
    pub(crate) request_max: Duration,
    pub(crate) snapshot_entries: u64,
    pub(crate) learners_max: usize,
    pub(crate) strict_reconfig_check: bool,
    pub(crate) forwarded_writes: Option<ForwardedWrites>,
}

/// Consensus, running. A cheap handle.
#[derive(Clone)]
pub(crate) struct Member {
    pub(super) id: u64,
    pub(super) raft: Raft,
    pub(super) queue: ApplyQueue,
    pub(super) stop: Arc<StopState>,
    pub(super) leadership: Arc<Teller<Leadership>>,
    pub(super) reads: mpsc::Sender<Asker>,
    pub(super) leases: Arc<LeaseTable>,
    pub(super) space: Arc<DiskSpace>,
    pub(super) meters: Arc<Meters>,
    pub(super) cluster: Option<Arc<Cluster>>,
    /// Held while a change of the members is decided and written.
    pub(super) changing: Arc<tokio::sync::Mutex<()>>,
    log: LogStore,
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Member").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Member {
    /// Starts consensus over a log. A member that is alone has applied all of it when this returns; one of several may still be looking for a
    /// leader. Returns the queue of reads, for [`Member::run_reads`].
    pub(crate) async fn start(
        config: MemberConfig,
        log: &LogFiles,
    ) -> Result<(Self, mpsc::Receiver<Asker>), OpenError> {
        let peers = config.cluster.as_ref().map(|cluster| Arc::clone(&cluster.peers));
        let started = Self::start_consensus(config, log).await;
        if let (Err(_), Some(peers)) = (&started, peers) {
            peers.end();
        }
        started
    }

    async fn start_consensus(
        config: MemberConfig,
        log: &LogFiles,
    ) -> Result<(Self, mpsc::Receiver<Asker>), OpenError> {
        let MemberConfig { id, initial, machine, stop, leases, space, meters, cluster, committed } = config;
        let failed = |what: &str, error: &dyn std::fmt::Display| OpenError::Raft(format!("{what}: {error}"));
        let raft_config = raft_config(cluster.as_ref()).map_err(|error| failed("configuring", &error))?;
        let queue = machine.queue().clone();
        let network = Network { peers: cluster.as_ref().map(|cluster| Arc::clone(&cluster.peers)) };
        let store = match committed {
            Some(entry) => log.store().committed_upto(entry),
            None => Ok(log.store()),
        };
        let store = store.map_err(|error| failed("reading the log", &error))?;
        let raft = Raft::new(id, Arc::new(raft_config), network, store, machine)
            .await
            .map_err(|error| failed("starting", &error))?;
        if let (true, Some(initial)) = (log.is_pristine(), initial) {
            let members: BTreeMap<u64, MemberNode> = initial.into_iter().collect();
            match raft.initialize(members).await {
                Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {}
                Err(error) => return Err(failed("forming the cluster", &error)),
            }
        }
        if is_alone(&raft, id).await.map_err(|error| failed("starting", &error))? {
            raft.trigger().elect(false).await.map_err(|error| failed("electing", &error))?;
            raft.wait_for_recovery(Some(ELECTION_WAIT))
                .await
                .map_err(|error| failed("waiting for the leader", &error))?;
            queue.drained().await.map_err(|error| failed("applying the log", &error))?;
            log.shortcut().open(id, queue.clone());
        }
        let leadership = leadership::of(&raft.server_metrics().borrow_watched());
        leases.lead(leadership.is_leader);
        if leadership.leader.is_some() {
            meters.leader_changed();
        }
        let (reads, asked) = mpsc::channel(WAITING_MAX);
        let leadership = Arc::new(Teller::new(leadership));
        let cluster = cluster.map(Arc::new);
        let log = log.store();
        let changing = Arc::default();
        let member =
            Self { id, raft, queue, stop, leadership, reads, leases, space, meters, cluster, changing, log };
        Ok((member, asked))
    }

    /// Has the log purged of what the tables have on disk: they were flushed just now. Members that lag get to read some of it first.
    pub(crate) async fn checkpoint(&self) {
        if let Err(error) = self.raft.trigger().snapshot().await {
            tracing::debug!(%error, "no checkpoint");
        }
        let Some(cluster) = &self.cluster else { return };
        let keep = self.log.purgeable(cluster.snapshot_entries, KEPT_BYTES_MAX);
        if let Some(upto) = keep
            && let Err(error) = self.raft.trigger().purge_log(upto).await
        {
            tracing::debug!(%error, "the log was not purged");
        }
    }

    /// Who leads, now and from now on.
    pub(crate) fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.receiver()
    }

    /// How long ago a quorum was last asked that then said that this member leads: the longest time if none has yet; nothing while it does not lead.
    pub(crate) fn leadership_confirmed_ago(&self) -> Option<Duration> {
        let server = self.raft.server_metrics();
        let server = server.borrow_watched();
        if !server.state.is_leader() {
            return None;
        }
        if is_only_voter(self.id, server.membership_config.membership().voter_ids()) {
            return Some(Duration::ZERO);
        }
        let acked = self.raft.data_metrics().borrow_watched().last_quorum_acked;
        Some(acked.map_or(Duration::MAX, |acked| acked.elapsed()))
    }

    /// The index of the log's last entry.
    pub(crate) fn last_index(&self) -> u64 {
        self.raft.metrics().borrow_watched().last_log_index.unwrap_or(0)
    }

    /// The members as this member knows them, with a change that is under way; it may yet be undone.
    pub(crate) fn members(&self) -> Vec<api::Member> {
        changes::list(self.raft.server_metrics().borrow_watched().membership_config.membership())
    }

    /// The members as of the last entry that is applied here: no change in it can be undone.
    pub(crate) fn applied_members(&self) -> Vec<api::Member> {
        changes::list(self.queue.progress().membership.membership())
    }

    pub(crate) fn cluster(&self) -> Option<Arc<Cluster>> {
        self.cluster.clone()
    }

    /// Stops consensus; what was acknowledged is in the log.
    pub(crate) async fn shut_down(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "consensus did not end well");
        }
    }

    /// Closes the links to the other members, after the stop.
    pub(crate) async fn close_links(&self) {
        if let Some(cluster) = &self.cluster {
            cluster.peers.close().await;
        }
    }
}

/// What openraft waits at least, in milliseconds, after it has last heard of the vote that it follows, before it looks for another leader.
pub(super) fn shortest_wait_ms(cluster: &Cluster) -> u64 {
    election_part(cluster, SHORTEST_WAIT)
}

fn election_part(cluster: &Cluster, percent: u128) -> u64 {
    (cluster.election_timeout.as_millis() * percent / 100) as u64
}

/// Whether this member is the only one with a vote, so that it need not wait for others.
async fn is_alone(raft: &Raft, id: u64) -> Result<bool, Fatal<TypeConfig>> {
    let alone = move |state: &RaftState<TypeConfig>| {
        is_only_voter(id, state.membership_state.effective().voter_ids())
    };
    raft.with_raft_state(alone).await
}

fn raft_config(cluster: Option<&Cluster>) -> Result<Config, openraft::ConfigError> {
    let config = Config {
        cluster_name: "mainstay".into(),
        max_payload_entries: 1024,
        // Checkpoints are triggered by the size of the log, not by a count of entries.
        snapshot_policy: SnapshotPolicy::Never,
        enable_pre_vote: Some(true),
        ..Config::default()
    };
    let Some(cluster) = cluster else {
        return Config {
            // A member alone is elected when it asks, not by a timeout. Slow ticks keep an idle store quiet.
            election_timeout_min: 4000,
            election_timeout_max: 8000,
            heartbeat_interval: 1000,
            max_in_snapshot_log_to_keep: 0,
            ..config
        }
        .validate();
    };
    // A follower looks for another leader after the leader's lease (the maximum) and a time between minimum and maximum have passed: with
    // these parts, after 1.0 to 1.2 election timeouts.
    Config {
        election_timeout_min: election_part(cluster, SHORTEST_WAIT),
        election_timeout_max: election_part(cluster, LEASE),
        heartbeat_interval: cluster.heartbeat_interval.as_millis() as u64,
        // The log is purged by its size, see `checkpoint`; a member that lags is sent a snapshot only if its entries are gone.
        max_in_snapshot_log_to_keep: u64::MAX,
        replication_lag_threshold: u64::MAX,
        // The tables may be behind what was committed when the member stopped: it must hear that from a quorum before it leads again.
        enable_leader_restore: Some(false),
        ..config
    }
    .validate()
}
