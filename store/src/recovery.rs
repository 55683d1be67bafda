//! Recovery: the data directory of one member becomes a cluster of that member alone. For members that have lost their quorum for good.
//!
//! The process may be killed between any two steps, and the recovery run again:
//!
//! 1. The directory is marked: nothing else opens it from here on.
//! 2. All of the log is applied, and the tables are brought to disk.
//! 3. The log is taken away.
//! 4. The tables begin a new log, with this member alone in it (as those of a restored store do).
//! 5. The directory gets the identity of the new cluster. Members of the old one are turned away by it, and stop.
use std::path::Path;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::api::{Config, Member, OpenError, Revision};
use crate::data_dir::{Founder, Recovering};
use crate::disk_space::Stalled;
use crate::engine::{AppliedMark, EngineError, Tables};
use crate::lease::LeaseTable;
use crate::metering::Meters;
use crate::raft::log::{LogConfig, LogFiles};
use crate::raft::{MemberNode, Replay, restored};
use crate::stop::StopState;

/// How to recover.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecoverOptions {
    /// Let the revision jump forward by this much: what the lost members acknowledged, and this one lacks, had revisions that must not come again.
    pub bump_revision: u64,
    /// Make the revision that is reached in this way the oldest that can be read: watchers are told to read anew.
    pub mark_compacted: bool,
}

/// What a recovery would work on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryPlan {
    /// The cluster so far.
    pub cluster_id: u64,
    /// This member in it.
    pub member_id: u64,
    /// All of its members; all but this one are given up.
    pub members: Vec<Member>,
    /// The revision of the tables, before the rest of the log is applied.
    pub revision: Revision,
    /// Entries of the log that are to be applied.
    pub entries: u64,
    /// Whether a recovery was begun before, and has to be ended.
    pub has_begun: bool,
}

/// What was recovered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The store's revision now.
    pub revision: Revision,
    /// The new cluster.
    pub cluster_id: u64,
    /// This member in it.
    pub member_id: u64,
}

/// Why a directory was not recovered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecoverError {
    /// The directory cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The member has never had any data: it joined and was never caught up.
    #[error("this member never had the cluster's data: recover another one")]
    Empty,
    /// The member had been removed.
    #[error("this member was removed from its cluster: recover one of those that were left")]
    Removed,
}

/// Where a test kills it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Marked,
    Applied,
    LogRetired,
    Begun,
}

/// Looks at a data directory that no process has open, and tells what a recovery would work on. Blocks.
///
/// # Errors
/// No store, one in use, or one without data.
pub async fn plan_recovery(dir: &Path) -> Result<RecoveryPlan, RecoverError> {
    let recovering = Recovering::open(dir)?;
    let replay = open(&recovering, &config(dir))?;
    let members = members(&replay, &recovering).await;
    let (revision, entries) = (replay.mark.revision, replay.entries_left());
    replay.end().await?;
    let members = members?;
    founder(&recovering, &members)?;
    Ok(RecoveryPlan {
        cluster_id: recovering.cluster_id()?,
        member_id: recovering.member_id()?,
        members,
        revision,
        entries,
        has_begun: recovering.has_begun(),
    })
}

/// Makes the data directory of a member, which no process has open, that of a new cluster which this member is alone in. All that the directory
/// has is kept. Blocks. It may be killed at any moment, and be run again.
///
/// # Errors
/// As [`plan_recovery`]'s, and the disk's.
pub async fn recover(dir: &Path, options: &RecoverOptions) -> Result<Recovered, RecoverError> {
    let mut recovering = Recovering::open(dir)?;
    let config = config(dir);
    let replay = open(&recovering, &config)?;
    let founder = match members(&replay, &recovering).await {
        Ok(members) => founder(&recovering, &members),
        Err(error) => Err(error),
    };
    let founder = match founder {
        Ok(founder) => founder,
        Err(error) => {
            replay.end().await?;
            return Err(error);
        }
    };
    let member_id = recovering.begin()?;
    let founder = Founder { id: member_id, ..founder };
    reached(Step::Marked);
    replay.run(&config).await?;
    reached(Step::Applied);
    if !recovering.has_no_log() {
        recovering.retire_log()?;
    }
    reached(Step::LogRetired);
    let revision = begin_anew(&recovering, &config, &founder, options)?;
    reached(Step::Begun);
    let cluster_id = recovering.finish(founder)?;
    Ok(Recovered { revision, cluster_id, member_id })
}

fn config(dir: &Path) -> Config {
    Config { dir: dir.to_path_buf(), ..Config::default() }
}

fn engine(what: &'static str) -> impl Fn(EngineError) -> OpenError {
    move |error| OpenError::Engine { what, message: error.to_string() }
}

fn open(recovering: &Recovering, config: &Config) -> Result<Replay, RecoverError> {
    let (tables, mark) = Tables::open(&recovering.tables(), config).map_err(engine("opening the tables"))?;
    let leases = tables.load_leases().map_err(engine("loading the leases"))?;
    let stop = Arc::new(StopState::default());
    let log_config = LogConfig {
        platform: config.platform.clone(),
        path: recovering.log(),
        cluster_id: recovering.cluster_id()?,
        file_bytes: config.log_segment_bytes,
        sync: true,
        sync_where_proposed: false,
        checkpoint_bytes: config.write_buffer_bytes as u64,
        grown: Arc::new(Notify::new()),
        stalled: Arc::new(Stalled::default()),
        meters: Arc::new(Meters::default()),
    };
    let has_log = !recovering.has_no_log();
    let log = has_log.then(|| LogFiles::open(log_config, Arc::clone(&stop))).transpose()?;
    let leases = Arc::new(LeaseTable::load(leases));
    Ok(Replay { tables: Arc::new(tables), mark, leases, log, stop })
}

/// The members so far.
async fn members(replay: &Replay, recovering: &Recovering) -> Result<Vec<Member>, RecoverError> {
    let members = replay.members().await?;
    if !members.is_empty() {
        return Ok(members);
    }
    let restored = |founder: &Founder| Member {
        id: founder.id,
        name: founder.name.clone(),
        peer_urls: founder.peer_urls.clone(),
        client_urls: Vec::new(),
        is_learner: false,
    };
    let founders: Vec<Member> = recovering.founders().iter().map(restored).collect();
    if founders.is_empty() { Err(RecoverError::Empty) } else { Ok(founders) }
}

/// This member, as what the new cluster begins with. Once the tables have begun anew they know it by its new identifier only.
fn founder(recovering: &Recovering, members: &[Member]) -> Result<Founder, RecoverError> {
    let ids = [Some(recovering.member_id()?), recovering.new_member_id()?];
    let own = members.iter().find(|member| ids.contains(&Some(member.id))).ok_or(RecoverError::Removed)?;
    Ok(Founder { id: own.id, name: own.name.clone(), peer_urls: own.peer_urls.clone() })
}

/// The tables begin a log that has nothing in it yet, and are on disk.
fn begin_anew(
    recovering: &Recovering,
    config: &Config,
    founder: &Founder,
    options: &RecoverOptions,
) -> Result<Revision, OpenError> {
    let (tables, mark) = Tables::open(&recovering.tables(), config).map_err(engine("opening the tables"))?;
    let revision = Revision(mark.revision.0.saturating_add_unsigned(options.bump_revision));
    let floor = if options.mark_compacted { revision } else { mark.floor };
    let mark = AppliedMark { index: None, term: 0, revision, floor };
    let Founder { id, name, peer_urls } = founder.clone();
    let node = MemberNode { name, peer_urls, ..MemberNode::default() };
    let begun = restored::begin(&tables, mark, vec![(id, node)]);
    tables.close();
    begun.map_err(engine("beginning the log anew"))?;
    Ok(revision)
}

#[cfg(test)]
thread_local! {
    /// The recovery panics after this step, as if the process had been killed.
    pub(crate) static KILLED_AFTER: std::cell::Cell<Option<Step>> = const { std::cell::Cell::new(None) };
}

#[cfg(test)]
fn reached(step: Step) {
    assert!(KILLED_AFTER.get() != Some(step), "killed after {step:?}");
}

#[cfg(not(test))]
fn reached(_step: Step) {}
