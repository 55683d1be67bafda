//! One running member of the cluster.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openraft::errors::{ClientWriteError, InitializeError, RaftError};
use openraft::impls::BasicNode;
use openraft::{Config, SnapshotPolicy};

use super::applier::ApplyQueue;
use super::log::LogFiles;
use super::machine::Machine;
use super::network::OneMember;
use super::types::{Proposal, TypeConfig};
use crate::api::{OpenError, WriteError};
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
    pub(crate) queue: ApplyQueue,
    pub(crate) tables: Arc<Tables>,
    pub(crate) pool: WorkerPool,
    pub(crate) stop: Arc<StopState>,
}

/// Consensus, running.
#[derive(Clone)]
pub(crate) struct Member {
    raft: Raft,
    queue: ApplyQueue,
    stop: Arc<StopState>,
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Member").finish_non_exhaustive()
    }
}

impl Member {
    /// Starts consensus over a log and waits until everything in it is applied.
    pub(crate) async fn start(config: MemberConfig, log: &LogFiles) -> Result<Self, OpenError> {
        let MemberConfig { id, queue, tables, pool, stop } = config;
        let failed = |what: &str, error: &dyn std::fmt::Display| OpenError::Raft(format!("{what}: {error}"));
        let raft_config = raft_config().map_err(|error| failed("configuring", &error))?;
        let machine = Machine { queue: queue.clone(), tables, pool };
        let raft = Raft::new(id, Arc::new(raft_config), OneMember, log.store(), machine)
            .await
            .map_err(|error| failed("starting", &error))?;
        if log.is_pristine() {
            let members = BTreeMap::from([(id, BasicNode::new("local"))]);
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
        let member = Self { raft, queue, stop };
        member.queue.drained().await.map_err(|error| failed("applying the log", &error))?;
        Ok(member)
    }

    /// Proposes a command and waits for its answer.
    pub(crate) async fn propose(&self, command: Command) -> Applied {
        match self.raft.client_write(Proposal(Arc::new(command))).await {
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

    /// The Raft term.
    pub(crate) fn term(&self) -> u64 {
        use openraft::async_runtime::WatchReceiver as _;
        self.raft.metrics().borrow_watched().current_term
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
