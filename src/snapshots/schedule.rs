//! Snapshots by the clock: every server takes its own, of its own copy of the store, so that any one that is left has some.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use mainstay_base::lifecycle::{Clock, Tasks};
use mainstay_store::{SnapshotRequest, Store};
use std::sync::Arc;
use tokio::sync::watch;
use tracing::{info, warn};

use super::journal::{ScheduleState, Taken};
use super::shelf::{due_in, name, names, newest, pruned};
use super::{keys, take};
use crate::config::Cluster;
use crate::store_command::parse_duration;

/// A server that has none yet takes its first one so long after it started.
const SETTLE: Duration = Duration::from_secs(300);
/// After an attempt that failed.
const AGAIN: Duration = Duration::from_secs(60);
/// More often than this, one would be taken while the one before is written.
const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// When a server takes snapshots, and where they go.
#[derive(Clone, Debug, Args)]
#[allow(clippy::struct_field_names, reason = "they are the names of flags")]
pub(crate) struct SnapshotFlags {
    /// How often to take a snapshot of the cluster, such as 12h or 30m; 0 takes none.
    #[arg(long, value_name = "DURATION", default_value = "12h", value_parser = parse_interval, help_heading = "Snapshots")]
    pub(crate) snapshot_interval: Duration,
    /// How many of them to keep.
    #[arg(long, value_name = "COUNT", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..), help_heading = "Snapshots")]
    pub(crate) snapshot_keep: u16,
    /// Where they go: another disk is better [default: DIR/snapshots].
    #[arg(long, value_name = "DIR", help_heading = "Snapshots")]
    pub(crate) snapshot_dir: Option<PathBuf>,
    /// Seal the cluster's keys into them, under the passphrase in this file. Without it they bring back the objects of a
    /// cluster, but not on a machine that has none of its keys.
    #[arg(long, value_name = "FILE", help_heading = "Snapshots")]
    pub(crate) snapshot_passphrase_file: Option<PathBuf>,
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        interval if interval.is_zero() || interval >= INTERVAL_MIN => Ok(interval),
        _ => Err(format!("{text:?} is too often: give {} s or more, or 0 for none", INTERVAL_MIN.as_secs())),
    }
}

/// The flags, checked.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotSettings {
    interval: Duration,
    keep: usize,
    dir: PathBuf,
    passphrase: Option<String>,
}

impl SnapshotFlags {
    /// What they say; none if no snapshots are wanted.
    ///
    /// # Errors
    /// A passphrase file that cannot be used.
    pub(crate) fn settings(&self, data_dir: &Path) -> anyhow::Result<Option<SnapshotSettings>> {
        if self.snapshot_interval.is_zero() {
            return Ok(None);
        }
        let passphrase = self.snapshot_passphrase_file.as_deref().map(keys::passphrase).transpose()?;
        let dir = self.snapshot_dir.clone().unwrap_or_else(|| data_dir.join("snapshots"));
        let dir = std::path::absolute(dir).context("finding the directory of snapshots")?;
        let (interval, keep) = (self.snapshot_interval, usize::from(self.snapshot_keep));
        Ok(Some(SnapshotSettings { interval, keep, dir, passphrase }))
    }
}

/// What the loop works with.
struct Schedule {
    settings: SnapshotSettings,
    store: Store,
    data_dir: PathBuf,
    cluster: Cluster,
    clock: Arc<dyn Clock>,
}

/// Takes snapshots until `tasks` ends, and tells how that goes.
pub(crate) fn run_schedule(
    settings: SnapshotSettings,
    store: Store,
    (data_dir, cluster): (PathBuf, Cluster),
    clock: Arc<dyn Clock>,
    told: watch::Sender<Option<ScheduleState>>,
    tasks: &Tasks,
) {
    let schedule = Arc::new(Schedule { settings, store, data_dir, cluster, clock });
    let stop = tasks.token();
    tasks.spawn("snapshots", async move {
        let mut state = schedule.state();
        let mut pause = schedule.due_in(&mut state);
        loop {
            state.next_at = schedule.now().saturating_add(i64::try_from(pause.as_secs()).unwrap_or(i64::MAX));
            told.send_replace(Some(state.clone()));
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = match schedule.take().await {
                Ok(taken) => {
                    state.succeeded(taken);
                    schedule.due_in(&mut state).max(INTERVAL_MIN)
                }
                Err(error) => {
                    let why = format!("{error:#}");
                    warn!(error = why, "no snapshot was taken; it is tried again");
                    state.failed(schedule.now(), why);
                    AGAIN.min(schedule.settings.interval)
                }
            };
        }
    });
}

impl Schedule {
    fn now(&self) -> i64 {
        self.clock.wall().unix_timestamp()
    }

    /// What is known before anything was looked at.
    fn state(&self) -> ScheduleState {
        ScheduleState {
            place: self.settings.dir.display().to_string(),
            interval_seconds: self.settings.interval.as_secs(),
            last: None,
            failure: None,
            next_at: self.now(),
        }
    }

    /// How long until the next one; the newest that is there is noted.
    fn due_in(&self, state: &mut ScheduleState) -> Duration {
        let dir = &self.settings.dir;
        match names(dir) {
            Ok(names) => {
                state.last = newest(&names).map(|(name, taken)| Taken {
                    name: name.to_owned(),
                    at: taken.unix_timestamp(),
                    // One that another process removed meanwhile has no size any more.
                    bytes: std::fs::metadata(dir.join(name)).map_or(0, |file| file.len()),
                });
                due_in(&names, self.clock.wall(), self.settings.interval, SETTLE)
            }
            Err(error) => {
                let why = format!("{error:#}");
                warn!(error = why, "the directory of snapshots cannot be read");
                state.failed(self.now(), why);
                AGAIN.min(self.settings.interval)
            }
        }
    }

    /// Takes one and prunes the old ones.
    async fn take(self: &Arc<Self>) -> anyhow::Result<Taken> {
        // It shall have every write that was acknowledged before.
        self.store.current_revision().await.context("asking the other servers what is current")?;
        let (this, tokio) = (Arc::clone(self), tokio::runtime::Handle::current());
        // The disk blocks.
        tokio::task::spawn_blocking(move || tokio.block_on(this.write()))
            .await
            .context("taking a snapshot")?
    }

    async fn write(&self) -> anyhow::Result<Taken> {
        let dir = &self.settings.dir;
        std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
        let now = self.clock.wall();
        let mut manifest = take::manifest(&self.data_dir, &self.cluster, now)?;
        if let Some(passphrase) = &self.settings.passphrase {
            manifest.keys = Some(keys::seal(&take::keys(&self.data_dir)?, passphrase)?);
        }
        let name = name(now)?;
        let pieces = self.store.snapshot(SnapshotRequest::default());
        let status = take::write(&dir.join(&name), &manifest, pieces).await?;
        info!(name, revision = status.revision.0, bytes = status.size_bytes, "a snapshot was taken");
        for old in pruned(&names(dir)?, self.settings.keep) {
            std::fs::remove_file(dir.join(old))
                .with_context(|| format!("removing the old snapshot {old}"))?;
        }
        Ok(Taken { name, at: now.unix_timestamp(), bytes: status.size_bytes })
    }
}
