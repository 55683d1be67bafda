//! The parts of an open store, how they start and how they end.
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use crate::api::{
    CloseError, ClusterError, Config, Figures, LeaseId, Limits, OpenError, WriteError, WriteTimes,
};
use crate::checkpoint::{CheckpointParts, run as run_checkpoints};
use crate::cluster_parts::{self, Links};
use crate::compactor::Compactor;
use crate::data_dir::{DataDir, NewIdentity};
use crate::disk_space::{DiskSpace, Stalled};
use crate::engine::{AppliedMark, Tables};
use crate::lease::{LeaseTable, run_expiry};
use crate::metering::Meters;
use crate::mvcc::{Applied, Command};
use crate::platform::{Loop, Platform};
use crate::quota::Quota;
use crate::raft::log::{LogConfig, LogFiles};
use crate::raft::{
    Applier, ApplyQueue, Change, Machine, Member, MemberConfig, Proposals, committed, restored,
};
use crate::stop::{StopState, Stopped};
use crate::watch::Hub;
use crate::worker_pool::WorkerPool;

const READ_THREADS: usize = 4;
/// Requests under way get so long to end when the store is closed.
const CLOSE_GRACE: Duration = Duration::from_secs(10);
/// Another member gets so long to take the leadership over from one that closes.
const HAND_OVER_MAX: Duration = Duration::from_secs(2);
/// The tables are brought to disk after no less log than this.
const CHECKPOINT_BYTES_MIN: u64 = 1 << 20;
/// The smallest file of the log that still takes any request.
const LOG_FILE_OVERHEAD: u64 = 64 << 10;

/// Everything that an open store consists of.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) limits: Limits,
    pub(crate) tables: Arc<Tables>,
    pub(crate) leases: Arc<LeaseTable>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) pool: WorkerPool,
    pub(crate) stop: Arc<StopState>,
    pub(crate) space: Arc<DiskSpace>,
    pub(crate) quota: Quota,
    pub(crate) meters: Arc<Meters>,
    pub(crate) queue: ApplyQueue,
    pub(crate) member: Member,
    pub(crate) runtime: Handle,
    platform: Platform,
    pub(crate) cluster_id: u64,
    pub(crate) member_id: u64,
    compactor: Compactor,
    /// The background loops.
    tasks: TaskTracker,
    /// Proposals under way.
    proposals: TaskTracker,
    /// What is left to close, once.
    resources: Mutex<Option<Resources>>,
}

#[derive(Debug)]
struct Resources {
    log: LogFiles,
    loops: Vec<Loop>,
    dir: DataDir,
}

/// What the log shares with the rest.
struct LogParts {
    stop: Arc<StopState>,
    grown: Arc<Notify>,
    stalled: Arc<Stalled>,
    meters: Arc<Meters>,
}

/// What the parts of a store note for others to see.
struct Watched {
    stalled: Arc<Stalled>,
    meters: Arc<Meters>,
}

/// What was opened with blocking calls.
struct Opened {
    dir: DataDir,
    tables: Arc<Tables>,
    mark: AppliedMark,
    leases: Arc<LeaseTable>,
    log: LogFiles,
    committed: Option<committed::EntryAt>,
}

impl Core {
    pub(crate) async fn open(config: Config) -> Result<Arc<Self>, OpenError> {
        check(&config)?;
        let stop = Arc::new(StopState::default());
        let (grown, stalled) = (Arc::new(Notify::new()), Arc::new(Stalled::default()));
        let meters = Arc::new(Meters::default());
        let new = cluster_parts::new_identity(&config).await?;
        let opened = {
            let (config, platform) = (config.clone(), config.platform.clone());
            let parts = LogParts {
                stop: Arc::clone(&stop),
                grown: Arc::clone(&grown),
                stalled: Arc::clone(&stalled),
                meters: Arc::clone(&meters),
            };
            platform
                .blocking(move || open_files(&config, new, parts))
                .await
                .map_err(|error| OpenError::Raft(format!("opening files: {error}")))??
        };
        let (core, links) =
            Self::start(&config, opened, Arc::clone(&stop), Watched { stalled, meters }).await?;
        core.spawn_loops(&grown);
        core.spawn_links(&config, links);
        core.compactor.wake();
        Ok(core)
    }

    async fn start(
        config: &Config,
        opened: Opened,
        stop: Arc<StopState>,
        watched: Watched,
    ) -> Result<(Arc<Self>, Links), OpenError> {
        let Watched { stalled, meters } = watched;
        let Opened { dir, tables, mark, leases, log, committed } = opened;
        let initial = cluster_parts::initial_members(config, &dir)?;
        let platform = &config.platform;
        let (pool, mut loops) = WorkerPool::start(platform, "store-read", READ_THREADS).map_err(thread)?;
        let compactor = Compactor::default();
        loops.push(compactor.spawn(platform, Arc::clone(&tables)).map_err(thread)?);
        let hub = Arc::new(Hub::new(config, Arc::clone(&tables), pool.clone(), Arc::clone(&stop)));
        loops.push(hub.spawn_notifier(platform).map_err(thread)?);
        let proposals = Arc::new(Proposals::new(dir.member_id));
        let space = Arc::new(DiskSpace::new(config, Arc::clone(&stalled)));
        let applier = Applier {
            tables: Arc::clone(&tables),
            leases: Arc::clone(&leases),
            hub: Arc::clone(&hub),
            stop: Arc::clone(&stop),
            proposals: Arc::clone(&proposals),
            dir: dir.path.clone(),
            stalled,
            meters: Arc::clone(&meters),
            upkeep: compactor.waker(),
        };
        let (queue, applying) = applier.spawn(platform, mark)?;
        loops.extend(applying);
        let (cluster, events) = cluster_parts::prepare(config, &dir, &stop, &meters, proposals);
        let member_config = MemberConfig {
            id: dir.member_id,
            initial,
            machine: Machine::new(queue.clone(), Arc::clone(&tables), pool.clone()),
            stop: Arc::clone(&stop),
            leases: Arc::clone(&leases),
            space: Arc::clone(&space),
            meters: Arc::clone(&meters),
            cluster,
            committed,
        };
        let (member, reads) = match Box::pin(Member::start(member_config, &log)).await {
            Ok(started) => started,
            Err(error) => {
                let started =
                    Started { stop: &stop, hub: &hub, compactor: &compactor, queue: &queue, pool: &pool };
                started.end(log, &tables).await;
                return Err(error);
            }
        };
        let core = Arc::new(Self {
            limits: config.limits,
            tables,
            leases,
            hub,
            pool,
            stop,
            space,
            quota: Quota::new(config.quota_backend_bytes),
            meters,
            queue,
            member,
            runtime: Handle::current(),
            platform: platform.clone(),
            cluster_id: dir.cluster_id,
            member_id: dir.member_id,
            compactor,
            tasks: TaskTracker::new(),
            proposals: TaskTracker::new(),
            resources: Mutex::new(Some(Resources { log, loops, dir })),
        });
        Ok((core, Links { reads, events }))
    }

    fn spawn_loops(self: &Arc<Self>, grown: &Arc<Notify>) {
        let stop = self.stop.token().clone();
        self.tasks.spawn_on(self.member.clone().follow(), &self.runtime);
        let revoker = Arc::downgrade(self);
        let revoke = move |id| {
            let core = revoker.upgrade();
            async move {
                match core {
                    Some(core) => core.end_lease(id).await.map(|_reply| ()),
                    None => Err(WriteError::Closed),
                }
            }
        };
        self.tasks.spawn_on(run_expiry(Arc::clone(&self.leases), stop.clone(), revoke), &self.runtime);
        let checkpoints = run_checkpoints(CheckpointParts {
            member: self.member.clone(),
            tables: Arc::clone(&self.tables),
            pool: self.pool.clone(),
            stop: Arc::clone(&self.stop),
            grown: Arc::clone(grown),
        });
        self.tasks.spawn_on(checkpoints, &self.runtime);
        self.tasks.close();
    }

    /// Starts what joins this member with others.
    fn spawn_links(&self, config: &Config, links: Links) {
        for part in cluster_parts::loops(config, self.cluster_id, &self.member, links) {
            self.tasks.spawn_on(part, &self.runtime);
        }
    }

    /// Writes a command through the log, and notes when it passes what, if anybody wants to know.
    pub(crate) async fn propose(&self, command: Command, times: Option<&Arc<WriteTimes>>) -> Applied {
        self.check()?;
        let _under_way = self.proposals.token();
        // Again: a close that did not see the token has set this before.
        self.check()?;
        self.meters.called();
        self.member.check_room(&command)?;
        if !self.quota.admits(&command, &self.tables) {
            return Err(Box::pin(self.raise_no_space()).await);
        }
        let applied = self.member.propose(command, times).await;
        if let Err(
            WriteError::Timeout | WriteError::Unknown(_) | WriteError::NoLeader | WriteError::LeaderChanged,
        ) = &applied
        {
            self.meters.proposal_failed();
        }
        applied
    }

    /// What was counted since the store was opened.
    pub(crate) fn figures(&self) -> Figures {
        self.meters.read(self.proposals.len() as u64)
    }

    /// Whether the store runs, for calls about members.
    pub(crate) fn check_open(&self) -> Result<(), ClusterError> {
        self.stop.check().map_err(|stopped| match stopped {
            Stopped::Closed => ClusterError::Closed,
            Stopped::Halted(halt) => ClusterError::Halted(halt),
        })
    }

    /// Waits until this member has applied all that was acknowledged before the call.
    pub(crate) async fn linearize(&self) -> Result<(), ClusterError> {
        self.check_open()?;
        self.member.linearize().await.map_err(|error| self.why(error))
    }

    /// As [`Core::linearize`], up to one heartbeat later, at no cost to the leader.
    pub(crate) async fn linearize_by_heartbeat(&self) -> Result<(), ClusterError> {
        self.check_open()?;
        self.member.linearize_by_heartbeat().await.map_err(|error| self.why(error))
    }

    /// The error, or that the store has stopped, which is why there is one.
    fn why(&self, error: ClusterError) -> ClusterError {
        self.check_open().err().unwrap_or(error)
    }

    /// Changes the members; returns the one that it is about.
    pub(crate) async fn change_members(&self, change: Change) -> Result<u64, ClusterError> {
        self.check_open()?;
        self.member.change(change).await
    }

    /// Ends a lease whose time is over by the clock of this member, if it leads.
    async fn end_lease(&self, id: LeaseId) -> Applied {
        self.check()?;
        let _under_way = self.proposals.token();
        self.check()?;
        let command = Command::LeaseRevoke(id);
        self.space.check(&command)?;
        let ended = self.member.propose_as_leader(command).await;
        if ended.is_ok() {
            self.meters.lease_expired();
        }
        ended
    }

    pub(crate) fn check(&self) -> Result<(), WriteError> {
        self.stop.check().map_err(|stopped| match stopped {
            Stopped::Closed => WriteError::Closed,
            Stopped::Halted(halt) => WriteError::Halted(halt),
        })
    }

    pub(crate) fn log_size_bytes(&self) -> u64 {
        self.resources.lock().as_ref().map_or(0, |resources| resources.log.size_bytes())
    }

    pub(crate) async fn hand_over(&self) {
        if !self.stop.is_stopped() {
            self.member.hand_over(HAND_OVER_MAX).await;
        }
    }

    /// Ends everything in order. Only the first call does anything.
    pub(crate) async fn close(&self) -> Result<(), CloseError> {
        self.hand_over().await;
        self.stop.close();
        let Some(resources) = self.resources.lock().take() else { return Ok(()) };
        self.hub.close();
        self.compactor.close();
        self.proposals.close();
        let ended = async {
            self.proposals.wait().await;
            self.tasks.wait().await;
        };
        if tokio::time::timeout(CLOSE_GRACE, ended).await.is_err() {
            tracing::warn!("requests were still under way when the store was closed");
        }
        self.member.close_links().await;
        self.member.shut_down().await;
        let Resources { log, loops, dir } = resources;
        let flushed = self.flush().await;
        self.queue.close().await;
        let logged = log.close().await.map_err(|error| CloseError(error.to_string()));
        self.pool.close();
        let mut ended = true;
        for part in loops {
            ended &= part.join().await;
        }
        let tables = Arc::clone(&self.tables);
        let closed = self.platform.blocking(move || {
            tables.close();
            drop(dir); // the lock goes last
        });
        match closed.await {
            Ok(()) if ended => flushed.and(logged),
            Ok(()) | Err(_) => Err(CloseError("a thread of the store had panicked".into())),
        }
    }

    /// Brings the tables to disk, so that the next start has little to replay.
    async fn flush(&self) -> Result<(), CloseError> {
        let failed = |error: &dyn std::fmt::Display| CloseError(error.to_string());
        if matches!(self.stop.reason(), Stopped::Halted(_)) {
            return Ok(());
        }
        self.queue.drained().await.map_err(|error| failed(&error))?;
        let tables = Arc::clone(&self.tables);
        match self.pool.run(move || tables.flush()).await {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(failed(&error)),
            None => Err(failed(&"the read threads have ended")),
        }
    }
}

/// What has started when consensus does not.
struct Started<'p> {
    stop: &'p StopState,
    hub: &'p Hub,
    compactor: &'p Compactor,
    queue: &'p ApplyQueue,
    pool: &'p WorkerPool,
}

impl Started<'_> {
    /// Ends it again, so that the directory can be opened once the cause is gone.
    async fn end(self, log: LogFiles, tables: &Tables) {
        self.stop.close();
        self.hub.close();
        self.compactor.close();
        self.queue.close().await;
        if let Err(error) = log.close().await {
            tracing::warn!(%error, "the log did not close well");
        }
        self.pool.close();
        tables.close();
    }
}

fn check(config: &Config) -> Result<(), OpenError> {
    let needed = 2 * config.limits.request_bytes_max as u64 + LOG_FILE_OVERHEAD;
    if config.log_segment_bytes < needed || config.log_segment_bytes > u64::from(u32::MAX) {
        return Err(OpenError::Config(format!(
            "log_segment_bytes is {}; it must be at least {needed} (twice request_bytes_max and a little more) and below 4 GiB",
            config.log_segment_bytes
        )));
    }
    if config.limits.txn_depth_max == 0 || config.limits.txn_depth_max > 64 {
        return Err(OpenError::Config("limits.txn_depth_max must be between 1 and 64".into()));
    }
    Ok(())
}

fn thread(source: std::io::Error) -> OpenError {
    OpenError::Io { what: "starting a thread".into(), source }
}

fn open_files(config: &Config, new: Option<NewIdentity>, parts: LogParts) -> Result<Opened, OpenError> {
    let dir = DataDir::open(&config.dir, config.cluster_id, new)?;
    let engine = |what| {
        move |error: crate::engine::EngineError| OpenError::Engine { what, message: error.to_string() }
    };
    let (tables, mut mark) = Tables::open(&dir.tables(), config).map_err(engine("opening the tables"))?;
    let leases = tables.load_leases().map_err(engine("loading the leases"))?;
    let log_config = LogConfig {
        platform: config.platform.clone(),
        path: dir.log(),
        cluster_id: dir.cluster_id,
        file_bytes: config.log_segment_bytes,
        sync: config.sync,
        sync_where_proposed: config.sync_where_proposed,
        checkpoint_bytes: config
            .platform
            .checkpoint_bytes()
            .unwrap_or_else(|| (config.write_buffer_bytes as u64).max(CHECKPOINT_BYTES_MIN)),
        grown: parts.grown,
        stalled: parts.stalled,
        meters: parts.meters,
    };
    let log = LogFiles::open(log_config, parts.stop)?;
    cluster_parts::check_alone(config, &dir, &tables)?;
    if dir.restored && log.is_pristine() && restored::is_as_restored(&mark) {
        let founders = cluster_parts::founders_of_restored(config, &dir)?;
        mark = restored::begin(&tables, mark, founders).map_err(engine("beginning the log anew"))?;
    } else {
        check_log(config, &dir, &log, &mark)?;
    }
    // A member that is alone applies all of its log.
    let committed = config
        .cluster
        .is_some()
        .then(|| committed::read(config.platform.disk().as_ref(), &config.dir, dir.cluster_id));
    let (tables, leases) = (Arc::new(tables), Arc::new(LeaseTable::load(leases)));
    Ok(Opened { dir, tables, mark, leases, log, committed: committed.flatten() })
}

/// Tables and log must meet.
fn check_log(config: &Config, dir: &DataDir, log: &LogFiles, mark: &AppliedMark) -> Result<(), OpenError> {
    // A member that is alone applies only what its own log has on disk. Others may apply what a quorum has.
    if let Some(applied) = mark.index
        && config.cluster.is_none()
        && log.last_index().is_none_or(|last| last < applied)
    {
        return Err(OpenError::Damaged {
            file: dir.log(),
            offset: 0,
            what: format!("the log ends before entry {applied}, which was applied"),
        });
    }
    if let Some(purged) = log.purged_index()
        && mark.index.is_none_or(|applied| applied < purged)
    {
        return Err(OpenError::Damaged {
            file: dir.tables(),
            offset: 0,
            what: format!("the tables end before entry {purged}, and the log begins after it"),
        });
    }
    Ok(())
}
