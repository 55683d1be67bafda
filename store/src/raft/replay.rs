//! Applies a log to the tables without consensus: for a recovery, where nobody is left to agree with.
//!
//! All of the log is applied, also what may not have been committed: its writers were told nothing, or that they do not know.
use std::sync::Arc;

use openraft::{EntryPayload, RaftLogReader as _};

use super::applier::Applier;
use super::apply_queue::ApplyQueue;
use super::changes;
use super::log::LogFiles;
use super::membership;
use super::proposals::Proposals;
use super::types::Membership;
use crate::api::{Config, Member, OpenError};
use crate::disk_space::Stalled;
use crate::engine::{AppliedMark, Tables};
use crate::lease::LeaseTable;
use crate::metering::Meters;
use crate::stop::{StopState, Stopped};
use crate::watch::Hub;
use crate::worker_pool::WorkerPool;

/// What is replayed, to what.
pub(crate) struct Replay {
    pub(crate) tables: Arc<Tables>,
    /// How far the tables are.
    pub(crate) mark: AppliedMark,
    pub(crate) leases: Arc<LeaseTable>,
    /// None if all of it was applied, and it is gone.
    pub(crate) log: Option<LogFiles>,
    pub(crate) stop: Arc<StopState>,
}

impl Replay {
    /// So many entries of the log are not in the tables yet.
    pub(crate) fn entries_left(&self) -> u64 {
        self.last().map_or(0, |last| (last + 1).saturating_sub(self.next()))
    }

    fn last(&self) -> Option<u64> {
        self.log.as_ref()?.last_index()
    }

    fn next(&self) -> u64 {
        self.mark.index.map_or(0, |applied| applied + 1)
    }

    /// The members as the tables and the rest of the log tell; none if neither does.
    pub(crate) async fn members(&self) -> Result<Vec<Member>, OpenError> {
        let row = self.tables.membership().map_err(|error| unreadable(&error))?;
        let mut members = match row {
            None => Membership::default(),
            Some(row) => {
                membership::decode_stored(&row).map_err(|error| unreadable(&error))?.membership().clone()
            }
        };
        let mut next = self.next();
        while let Some(entries) = self.read(next).await? {
            for entry in entries {
                next = entry.log_id.index + 1;
                if let EntryPayload::Membership(newer) = entry.payload {
                    members = newer;
                }
            }
        }
        Ok(changes::list(&members))
    }

    /// The next entries; none if those were all.
    async fn read(&self, next: u64) -> Result<Option<Vec<super::types::Entry>>, OpenError> {
        let Some(log) = &self.log else { return Ok(None) };
        let Some(last) = log.last_index().filter(|last| *last >= next) else { return Ok(None) };
        let failed = |source| OpenError::Io { what: format!("reading entry {next} of the log"), source };
        let entries = log.store().limited_get_log_entries(next, last + 1).await.map_err(failed)?;
        if entries.first().is_none_or(|first| first.log_id.index != next) {
            return Err(failed(std::io::Error::other("it is not there")));
        }
        Ok(Some(entries))
    }

    /// Applies what is left; the tables are on disk when this returns. Ends all that was opened.
    pub(crate) async fn run(self, config: &Config) -> Result<(), OpenError> {
        let applied = self.apply(config).await;
        let ended = self.end().await;
        applied.and(ended)
    }

    /// Ends all that was opened.
    pub(crate) async fn end(self) -> Result<(), OpenError> {
        let Self { tables, log, stop, .. } = self;
        stop.close();
        let closed = match log {
            Some(log) => log.close().await,
            None => Ok(()),
        };
        tables.close();
        closed.map_err(|source| OpenError::Io { what: "closing the log".into(), source })
    }

    async fn apply(&self, config: &Config) -> Result<(), OpenError> {
        let thread = |source| OpenError::Io { what: "starting a thread".into(), source };
        let platform = &config.platform;
        let (pool, mut loops) = WorkerPool::start(platform, "store-read", 1).map_err(thread)?;
        let hub = Arc::new(Hub::new(config, Arc::clone(&self.tables), pool.clone(), Arc::clone(&self.stop)));
        loops.push(hub.spawn_notifier(platform).map_err(thread)?);
        let applier = Applier {
            tables: Arc::clone(&self.tables),
            leases: Arc::clone(&self.leases),
            hub: Arc::clone(&hub),
            stop: Arc::clone(&self.stop),
            proposals: Arc::new(Proposals::new(0)),
            dir: config.dir.clone(),
            stalled: Arc::new(Stalled::default()),
            meters: Arc::new(Meters::default()),
            upkeep: Arc::new(|| {}),
        };
        let (queue, applying) = applier.spawn(platform, self.mark)?;
        loops.extend(applying);
        let done = self.feed(&queue).await;
        queue.close().await;
        drop(queue);
        hub.close();
        pool.close();
        for part in loops {
            part.join().await;
        }
        if let Err(Stopped::Halted(halt)) = self.stop.check() {
            return Err(OpenError::Raft(halt.to_string()));
        }
        done?;
        let failed = |error: crate::engine::EngineError| OpenError::Engine {
            what: "bringing the tables to disk",
            message: error.to_string(),
        };
        self.tables.flush().map_err(failed)
    }

    async fn feed(&self, queue: &ApplyQueue) -> Result<(), OpenError> {
        let ended = |source| OpenError::Io { what: "applying the log".into(), source };
        let mut next = self.next();
        while let Some(entries) = self.read(next).await? {
            next = entries.last().map_or(next, |last| last.log_id.index + 1);
            let entries = entries.into_iter().map(|entry| (entry, None)).collect();
            queue.apply(entries).await.map_err(ended)?;
        }
        queue.drained().await.map_err(ended)
    }
}

fn unreadable(error: &dyn std::fmt::Display) -> OpenError {
    OpenError::Engine { what: "reading the membership", message: error.to_string() }
}
