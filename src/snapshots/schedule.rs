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

use super::bucket::BucketFlags;
use super::journal::{ScheduleState, Taken};
use super::meters::SnapshotMeters;
use super::place::Place;
use super::shelf::{Entry, Shelf, due_in, name, newest, pruned};
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
    /// Where they go: another disk is better, or s3://BUCKET/PREFIX, where each server has a folder of its own under PREFIX
    /// [default: DIR/snapshots].
    #[arg(long, value_name = "DIR|S3-URL", value_parser = Place::parse, help_heading = "Snapshots")]
    pub(crate) snapshot_dir: Option<Place>,
    /// Seal the cluster's keys into them, under the passphrase in this file. Without it they bring back the objects of a
    /// cluster, but not on a machine that has none of its keys.
    #[arg(long, value_name = "FILE", help_heading = "Snapshots")]
    pub(crate) snapshot_passphrase_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) bucket: BucketFlags,
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
    place: Place,
    bucket: BucketFlags,
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
        let read = |file| keys::passphrase("--snapshot-passphrase-file", file);
        let passphrase = self.snapshot_passphrase_file.as_deref().map(read).transpose()?;
        let place = match &self.snapshot_dir {
            Some(place @ Place::Bucket(_)) => {
                Shelf::open(place, &self.bucket)?; // what it lacks is said now
                place.clone()
            }
            given => {
                let default = || Place::Path(data_dir.join("snapshots"));
                let Place::Path(dir) = given.clone().unwrap_or_else(default) else { return Ok(None) };
                Place::Path(std::path::absolute(dir).context("finding the directory of snapshots")?)
            }
        };
        let (interval, keep) = (self.snapshot_interval, usize::from(self.snapshot_keep));
        Ok(Some(SnapshotSettings { interval, keep, place, bucket: self.bucket.clone(), passphrase }))
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
    (told, meters): (watch::Sender<Option<ScheduleState>>, SnapshotMeters),
    tasks: &Tasks,
) {
    let schedule = Arc::new(Schedule { settings, store, data_dir, cluster, clock });
    let stop = tasks.token();
    tasks.spawn("snapshots", async move {
        let mut state = schedule.state();
        let mut pause = schedule.due_in(&mut state).await;
        loop {
            state.next_at = schedule.now().saturating_add(i64::try_from(pause.as_secs()).unwrap_or(i64::MAX));
            meters.show(&state);
            told.send_replace(Some(state.clone()));
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            let taken = schedule.take().await;
            meters.attempted(taken.is_ok());
            pause = match taken {
                Ok(taken) => {
                    state.succeeded(taken);
                    schedule.due_in(&mut state).await.max(INTERVAL_MIN)
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
            place: self.place().to_string(),
            interval_seconds: self.settings.interval.as_secs(),
            last: None,
            failure: None,
            next_at: self.now(),
        }
    }

    /// Where this server's snapshots are: in a bucket it has a folder of its own, on a disk it is alone.
    fn place(&self) -> Place {
        match &self.settings.place {
            place @ Place::Bucket(_) => place.join(&self.cluster.node_name),
            place @ Place::Path(_) => place.clone(),
        }
    }

    /// The credentials are read anew: they may have been exchanged.
    fn shelf(&self) -> anyhow::Result<Shelf> {
        Shelf::open(&self.place(), &self.settings.bucket)
    }

    async fn entries(&self) -> anyhow::Result<Vec<Entry>> {
        self.shelf()?.entries().await
    }

    /// How long until the next one; the newest that is there is noted.
    async fn due_in(&self, state: &mut ScheduleState) -> Duration {
        match self.entries().await {
            Ok(entries) => {
                state.last = newest(&entries).map(|(entry, taken)| Taken {
                    name: entry.name.clone(),
                    at: taken.unix_timestamp(),
                    bytes: entry.bytes,
                });
                due_in(&entries, self.clock.wall(), self.settings.interval, SETTLE)
            }
            Err(error) => {
                let why = format!("{error:#}");
                warn!(error = why, "the place of snapshots cannot be read");
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
        if let Place::Path(dir) = &self.settings.place {
            std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
        }
        let kept_on = self.shelf()?;
        let now = self.clock.wall();
        let mut manifest = take::manifest(&self.data_dir, &self.cluster, now)?;
        if let Some(passphrase) = &self.settings.passphrase {
            manifest.keys = Some(keys::seal(&take::keys(&self.data_dir)?, passphrase)?);
        }
        let name = name(now)?;
        match kept_on.give_up_unfinished(None, now).await {
            Ok(given_up) if given_up.is_empty() => {}
            Ok(given_up) => info!(?given_up, "unfinished uploads of before were removed from the bucket"),
            // The snapshot matters more.
            Err(error) => warn!(error = format!("{error:#}"), "unfinished uploads may be left in the bucket"),
        }
        let pieces = self.store.snapshot(SnapshotRequest::default());
        let status = kept_on.keep(&name, &manifest, pieces).await?;
        info!(name, revision = status.revision.0, bytes = status.size_bytes, "a snapshot was taken");
        for old in pruned(&kept_on.entries().await?, self.settings.keep) {
            kept_on.remove(old).await?;
        }
        Ok(Taken { name, at: now.unix_timestamp(), bytes: status.size_bytes })
    }
}
