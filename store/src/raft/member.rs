//! One running member of the cluster.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use openraft::errors::{ClientWriteError, InitializeError, RaftError};
use openraft::type_config::async_runtime::watch::WatchReceiver as _;
use openraft::{Config, SnapshotPolicy};
use tokio::sync::watch;

use super::applier::ApplyQueue;
use super::changes::{self, Change, World};
use super::leadership;
use super::log::LogFiles;
use super::machine::Machine;
use super::network::OneMember;
use super::types::{MemberNode, Proposal, TypeConfig};
use crate::api::{self, ClusterError, Leadership, OpenError, WriteError};
use crate::engine::Tables;
use crate::mvcc::{Applied, Command};
use crate::stop::{StopState, Stopped};
use crate::worker_pool::WorkerPool;

type Raft = openraft::Raft<TypeConfig, Machine>;

/// A member alone elects itself at once; this bounds how long that may take with a slow disk.
const ELECTION_WAIT: Duration = Duration::from_secs(30);

/// What a member is made of.
#[derive(Debug)]
pub(crate) struct MemberConfig {
    pub(crate) id: u64,
    /// The members that a new cluster begins with.
    pub(crate) initial: Vec<(u64, MemberNode)>,
    pub(crate) learners_max: usize,
    pub(crate) queue: ApplyQueue,
    pub(crate) tables: Arc<Tables>,
    pub(crate) pool: WorkerPool,
    pub(crate) stop: Arc<StopState>,
}

/// Consensus, running.
#[derive(Clone)]
pub(crate) struct Member {
    id: u64,
    raft: Raft,
    queue: ApplyQueue,
    stop: Arc<StopState>,
    leadership: Arc<watch::Sender<Leadership>>,
    learners_max: usize,
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Member").finish_non_exhaustive()
    }
}

impl Member {
    /// Starts consensus over a log and waits until everything in it is applied.
    pub(crate) async fn start(config: MemberConfig, log: &LogFiles) -> Result<Self, OpenError> {
        let MemberConfig { id, initial, learners_max, queue, tables, pool, stop } = config;
        let failed = |what: &str, error: &dyn std::fmt::Display| OpenError::Raft(format!("{what}: {error}"));
        let raft_config = raft_config().map_err(|error| failed("configuring", &error))?;
        let machine = Machine { queue: queue.clone(), tables, pool };
        let raft = Raft::new(id, Arc::new(raft_config), OneMember, log.store(), machine)
            .await
            .map_err(|error| failed("starting", &error))?;
        if log.is_pristine() {
            let members: BTreeMap<u64, MemberNode> = initial.into_iter().collect();
            match raft.initialize(members).await {
                Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {}
                Err(error) => return Err(failed("forming the cluster", &error)),
            }
        } else {
            raft.trigger().elect(false).await.map_err(|error| failed("electing", &error))?;
        }
        raft.wait_for_recovery(Some(ELECTION_WAIT))
            .await
            .map_err(|error| failed("waiting for the leader", &error))?;
        let leadership =
            Arc::new(watch::Sender::new(leadership::of(&raft.server_metrics().borrow_watched())));
        let member = Self { id, raft, queue, stop, leadership, learners_max };
        member.queue.drained().await.map_err(|error| failed("applying the log", &error))?;
        Ok(member)
    }

    /// Proposes a command and waits for its answer.
    pub(crate) async fn propose(&self, command: Command) -> Applied {
        match self.raft.client_write(Proposal::new(command)).await {
            Ok(response) => response.data,
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) => Err(WriteError::NoLeader),
            Err(error) => Err(match self.stop.check() {
                Err(Stopped::Halted(halt)) => WriteError::Unknown(halt.to_string()),
                Err(Stopped::Closed) => WriteError::Unknown("the store was closed".into()),
                Ok(()) => {
                    self.stop.halt(&format!("consensus: {error}"));
                    WriteError::Unknown(error.to_string())
                }
            }),
        }
    }

    /// Has the log purged of what the tables have on disk: they were flushed just now.
    pub(crate) async fn checkpoint(&self) {
        if let Err(error) = self.raft.trigger().snapshot().await {
            tracing::debug!(%error, "no checkpoint");
        }
    }

    /// Who leads, now and from now on.
    pub(crate) fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.subscribe()
    }

    /// The index of the log's last entry.
    pub(crate) fn last_index(&self) -> u64 {
        self.raft.metrics().borrow_watched().last_log_index.unwrap_or(0)
    }

    /// Tells of changes of leadership until consensus ends or this is dropped.
    pub(crate) async fn follow_leadership(self) {
        let mut metrics = self.raft.server_metrics();
        loop {
            let now = leadership::of(&metrics.borrow_and_update());
            self.leadership.send_if_modified(|before| std::mem::replace(before, now) != now);
            if metrics.changed().await.is_err() {
                return;
            }
        }
    }

    /// The members as this member has applied them.
    pub(crate) fn members(&self) -> Vec<api::Member> {
        changes::list(self.queue.progress().membership.membership())
    }

    /// Changes the members, if this one leads. Returns the member that it is about.
    pub(crate) async fn change(&self, change: &Change, unix_seconds: u64) -> Result<u64, ClusterError> {
        let step = changes::plan(&self.world(unix_seconds), change)?;
        let Some(members) = step.change else { return Ok(step.id) };
        match self.raft.change_membership(members, false).await {
            Ok(_response) => Ok(step.id),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) => Err(ClusterError::NotLeader),
            Err(RaftError::APIError(ClientWriteError::LogEntryDiscarded(_))) => {
                Err(ClusterError::LeaderChanged)
            }
            Err(error) => Err(ClusterError::Raft(error.to_string())),
        }
    }

    fn world(&self, unix_seconds: u64) -> World {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let matched = metrics.replication.unwrap_or_default();
        let matched: BTreeMap<u64, u64> =
            matched.into_iter().filter_map(|(id, log_id)| Some((id, log_id?.index))).collect();
        World {
            membership: metrics.membership_config.membership().clone(),
            alive: BTreeSet::from([self.id]),
            matched,
            last_index: metrics.last_log_index.unwrap_or(0),
            learners_max: self.learners_max,
            unix_seconds,
        }
    }

    /// Hands the leadership over.
    pub(crate) fn move_leader(&self, to: u64) -> Result<(), ClusterError> {
        let members = self.members();
        if !members.iter().any(|member| member.id == to && !member.is_learner) {
            return Err(ClusterError::BadTransferee(to));
        }
        if self.leadership.borrow().leader == Some(to) {
            return Ok(());
        }
        Err(ClusterError::NotLeader)
    }

    /// Stops consensus; what was acknowledged is in the log.
    pub(crate) async fn shut_down(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "consensus did not end well");
        }
    }
}

fn raft_config() -> Result<Config, openraft::ConfigError> {
    Config {
        cluster_name: "mainstay".into(),
        // A member alone is elected when it asks, not by a timeout. Slow ticks keep an idle store quiet.
        election_timeout_min: 4000,
        election_timeout_max: 8000,
        heartbeat_interval: 1000,
        max_payload_entries: 1024,
        // Checkpoints are triggered by the size of the log, not by a count of entries.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: 0,
        enable_pre_vote: Some(true),
        ..Config::default()
    }
    .validate()
}
