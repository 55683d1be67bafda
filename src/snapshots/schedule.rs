//! Snapshots by the clock: every server takes its own, of its own copy of the store, so that any one that is left has some.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use mainstay_base::lifecycle::{Clock, Tasks};
use mainstay_store::{SnapshotRequest, Store};
use std::sync::Arc;
use tracing::{info, warn};

use super::shelf::{due_in, name, names, pruned};
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

/// Takes snapshots until `tasks` ends.
pub(crate) fn run_schedule(
    settings: SnapshotSettings,
    store: Store,
    (data_dir, cluster): (PathBuf, Cluster),
    clock: Arc<dyn Clock>,
    tasks: &Tasks,
) {
    let schedule = Arc::new(Schedule { settings, store, data_dir, cluster, clock });
    let stop = tasks.token();
    tasks.spawn("snapshots", async move {
        let mut pause = schedule.due_in();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = match schedule.take().await {
                Ok(()) => schedule.due_in().max(INTERVAL_MIN),
                Err(error) => {
                    warn!(error = format!("{error:#}"), "no snapshot was taken; it is tried again");
                    AGAIN.min(schedule.settings.interval)
                }
            };
        }
    });
}

impl Schedule {
    fn due_in(&self) -> Duration {
        match names(&self.settings.dir) {
            Ok(names) => due_in(&names, self.clock.wall(), self.settings.interval, SETTLE),
            Err(error) => {
                warn!(error = format!("{error:#}"), "the directory of snapshots cannot be read");
                AGAIN
            }
        }
    }

    /// Takes one and prunes the old ones.
    async fn take(self: &Arc<Self>) -> anyhow::Result<()> {
        // It shall have every write that was acknowledged before.
        self.store.current_revision().await.context("asking the other servers what is current")?;
        let (this, tokio) = (Arc::clone(self), tokio::runtime::Handle::current());
        // The disk blocks.
        tokio::task::spawn_blocking(move || tokio.block_on(this.write()))
            .await
            .context("taking a snapshot")?
    }

    async fn write(&self) -> anyhow::Result<()> {
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
        Ok(())
    }
}
