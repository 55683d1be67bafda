//! Where a server's snapshots are kept, a directory or a bucket: what is there, what is due, what is pruned, what a look at each tells.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use futures::{Stream, StreamExt as _};
use mainstay_store::{SnapshotStatus, snapshot_status_of_stream};
use time::OffsetDateTime;
use time::macros::format_description;
use tokio_util::bytes::Bytes;
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::bucket::{Bucket, BucketFlags};
use super::bundle::{Manifest, read_head, write_head};
use super::place::Place;
use super::take;
use crate::refusal::refuse;

/// How the names of those begin that were taken by the clock; others are never pruned.
const PREFIX: &str = "scheduled-";
pub(super) const END: &str = ".snapshot";
const PART: &str = ".part";

/// The name of a snapshot that is taken by the clock. Names sort as times do.
///
/// # Errors
/// A time that has no text.
pub(super) fn name(taken: OffsetDateTime) -> anyhow::Result<String> {
    let form = format_description!("[year][month][day]T[hour][minute][second]Z");
    let taken = taken.to_offset(time::UtcOffset::UTC).format(&form).context("naming a snapshot")?;
    Ok(format!("{PREFIX}{taken}{END}"))
}

/// When a snapshot with such a name was taken; none for other names.
fn taken(name: &str) -> Option<OffsetDateTime> {
    let form = format_description!("[year][month][day]T[hour][minute][second]Z");
    let text = name.strip_prefix(PREFIX)?.strip_suffix(END)?;
    time::PrimitiveDateTime::parse(text, &form).ok().map(time::PrimitiveDateTime::assume_utc)
}

/// The newest of the snapshots that were taken by the clock, and when it was taken.
pub(super) fn newest(entries: &[Entry]) -> Option<(&Entry, OffsetDateTime)> {
    entries.iter().filter_map(|entry| Some((entry, taken(&entry.name)?))).max_by_key(|(_, taken)| *taken)
}

/// How long until the next snapshot is due. The first one of a server waits until it has settled.
pub(super) fn due_in(
    entries: &[Entry],
    now: OffsetDateTime,
    interval: Duration,
    settle: Duration,
) -> Duration {
    let Some((_, newest)) = newest(entries) else { return settle.min(interval) };
    let age = now - newest;
    if age.is_negative() {
        return interval; // the clock was set back
    }
    interval.saturating_sub(age.unsigned_abs())
}

/// What is to be removed so that the newest `keep` stay, and what a crash left unfinished. Other files are nobody's business.
pub(super) fn pruned(entries: &[Entry], keep: usize) -> Vec<&str> {
    let names = || entries.iter().map(|entry| entry.name.as_str());
    let mut whole: Vec<&str> = names().filter(|name| taken(name).is_some()).collect();
    whole.sort_unstable();
    let old = whole.len().saturating_sub(keep);
    let unfinished =
        names().filter(|name| name.strip_suffix(PART).is_some_and(|whole| taken(whole).is_some()));
    whole.into_iter().take(old).chain(unfinished).collect()
}

/// Something that is kept, snapshot or not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    /// Its name on the shelf.
    pub(super) name: String,
    /// Its size.
    pub(super) bytes: u64,
}

/// Where snapshots are kept.
pub(super) enum Shelf {
    /// A directory.
    Dir(PathBuf),
    /// A bucket, under a prefix.
    Bucket(Box<Bucket>),
}

impl Shelf {
    /// The shelf at a place; nothing is looked at yet.
    ///
    /// # Errors
    /// A refusal: no such bucket can be asked for with these flags.
    pub(super) fn open(place: &Place, flags: &BucketFlags) -> anyhow::Result<Self> {
        Ok(match place {
            Place::Path(dir) => Self::Dir(dir.clone()),
            Place::Bucket(place) => Self::Bucket(Box::new(Bucket::new(place, flags)?)),
        })
    }

    /// What is there, by name; nothing where a directory is missing.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) async fn entries(&self) -> anyhow::Result<Vec<Entry>> {
        match self {
            Self::Dir(dir) => entries(dir),
            Self::Bucket(bucket) => bucket.entries().await,
        }
    }

    /// Keeps a snapshot under a name, where it appears once it is whole; it was read again then. Blocks for a directory.
    ///
    /// # Errors
    /// Whoever takes or gives it; there is no such snapshot then.
    pub(super) async fn keep<E>(
        &self,
        name: &str,
        manifest: &Manifest,
        pieces: impl Stream<Item = Result<Bytes, E>>,
    ) -> anyhow::Result<SnapshotStatus>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let bucket = match self {
            Self::Dir(dir) => return take::write(&dir.join(name), manifest, pieces).await,
            Self::Bucket(bucket) => bucket,
        };
        let mut head = Vec::new();
        write_head(&mut head, manifest)?;
        let rows = pieces.map(|piece| piece.context("taking the snapshot"));
        bucket.put(name, futures::stream::iter([Ok(Bytes::from(head))]).chain(rows)).await?;
        match self.look(name).await {
            Ok((_, status)) => Ok(status),
            Err(error) => {
                if let Err(error) = bucket.remove(name).await {
                    tracing::warn!(
                        error = format!("{error:#}"),
                        "a snapshot that could not be read again was left behind"
                    );
                }
                Err(error.context("reading the snapshot again"))
            }
        }
    }

    /// Has a bucket forget what was begun to be sent into this folder and never ended, as whoever is killed leaves it: what nobody can be
    /// sending any more, and either all that was taken by the clock, or what has the name that is about to be kept. Nobody else may be
    /// keeping such a one.
    ///
    /// # Errors
    /// The bucket's; a directory has nothing of the kind.
    pub(super) async fn give_up_unfinished(
        &self,
        kept: Option<&str>,
        now: OffsetDateTime,
    ) -> anyhow::Result<Vec<String>> {
        let ours = |name: &str| kept.map_or_else(|| taken(name).is_some(), |kept| name == kept);
        match self {
            Self::Dir(_) => Ok(Vec::new()),
            Self::Bucket(bucket) => bucket.give_up_unfinished(ours, now).await,
        }
    }

    /// Removes what has a name.
    ///
    /// # Errors
    /// It cannot be removed.
    pub(super) async fn remove(&self, name: &str) -> anyhow::Result<()> {
        match self {
            Self::Dir(dir) => std::fs::remove_file(dir.join(name))
                .with_context(|| format!("removing the old snapshot {name}")),
            Self::Bucket(bucket) => bucket.remove(name).await,
        }
    }

    /// Reads all of a snapshot and checks every sum.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) async fn look(&self, name: &str) -> anyhow::Result<(Manifest, SnapshotStatus)> {
        self.read(name, look_at).await
    }

    /// Reads what comes before the rows only.
    ///
    /// # Errors
    /// What is wrong with that.
    pub(super) async fn look_at_head(&self, name: &str) -> anyhow::Result<Manifest> {
        self.read(name, |mut from| read_head(&mut from)).await
    }

    async fn read<T: Send + 'static>(
        &self,
        name: &str,
        read: impl FnOnce(Box<dyn Read + Send>) -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let from: Box<dyn Read + Send> = match self {
            Self::Dir(dir) => Box::new(open(&dir.join(name))?),
            Self::Bucket(bucket) => {
                Box::new(SyncIoBridge::new(StreamReader::new(Box::pin(bucket.get(name).await?))))
            }
        };
        tokio::task::spawn_blocking(move || read(from)).await.context("reading the snapshot")?
    }
}

fn open(file: &Path) -> anyhow::Result<File> {
    File::open(file).map_err(|error| refuse(format!("{}: {error}", file.display())))
}

/// What is in a directory; nothing where it is missing.
fn entries(dir: &Path) -> anyhow::Result<Vec<Entry>> {
    let reading = || format!("reading {}", dir.display());
    let found = match std::fs::read_dir(dir) {
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(reading),
    };
    let mut entries = Vec::new();
    for entry in found {
        let entry = entry.with_context(reading)?;
        // One that another process removed meanwhile has no size any more.
        let bytes = entry.metadata().map_or(0, |file| file.len());
        entries.push(Entry { name: entry.file_name().to_string_lossy().into_owned(), bytes });
    }
    entries.sort();
    Ok(entries)
}

/// Reads all of a snapshot and checks every sum.
///
/// # Errors
/// What is wrong with it.
pub(super) fn look(file: &Path) -> anyhow::Result<(Manifest, SnapshotStatus)> {
    look_at(open(file)?)
}

fn look_at(mut from: impl Read) -> anyhow::Result<(Manifest, SnapshotStatus)> {
    let manifest = read_head(&mut from)?;
    let status = snapshot_status_of_stream(from)
        .map_err(|error| refuse(format!("{:#}", anyhow::Error::new(error))))?;
    Ok((manifest, status))
}

/// Unix seconds as people read them.
pub(crate) fn shown(unix_seconds: i64) -> String {
    let form = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    OffsetDateTime::from_unix_timestamp(unix_seconds)
        .ok()
        .and_then(|time| time.format(&form).ok())
        .unwrap_or_else(|| format!("{unix_seconds} s after 1970"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_764_000_000 + seconds).unwrap()
    }

    fn entry(name: &str) -> Entry {
        Entry { name: name.to_owned(), bytes: 1 }
    }

    fn taken_at(seconds: &[i64]) -> Vec<Entry> {
        seconds.iter().map(|seconds| entry(&name(at(*seconds)).unwrap())).collect()
    }

    const HOUR: Duration = Duration::from_secs(3600);
    const SETTLE: Duration = Duration::from_secs(300);

    #[test]
    fn a_name_tells_when_it_was_taken() {
        let name = name(at(0)).unwrap();
        assert_eq!(name, "scheduled-20251124T160000Z.snapshot");
        assert_eq!(taken(&name), Some(at(0)));
        for other in
            ["scheduled-.snapshot", "before-the-upgrade.snapshot", "scheduled-20251124T160000Z.snapshot.part"]
        {
            assert_eq!(taken(other), None);
        }
    }

    #[test]
    fn the_next_one_is_due_an_interval_after_the_newest() {
        let due = |names: &[Entry], now| due_in(names, at(now), HOUR, SETTLE);
        assert_eq!(due(&taken_at(&[0, 100]), 700), Duration::from_secs(3_000));
        assert_eq!(due(&taken_at(&[0]), 9000), Duration::ZERO, "it was missed");
        assert_eq!(due(&[], 0), SETTLE);
        assert_eq!(due(&[entry("by-hand.snapshot")], 0), SETTLE);
        assert_eq!(due(&taken_at(&[500]), 0), HOUR, "the clock was set back");
        assert_eq!(due_in(&[], at(0), Duration::from_secs(2), SETTLE), Duration::from_secs(2));
    }

    #[test]
    fn the_newest_are_kept_and_only_our_own_are_pruned() {
        let mut names = taken_at(&[300, 100, 200, 400]);
        names.extend(["by-hand.snapshot", "notes.txt", "by-hand.snapshot.part"].map(entry));
        names.push(entry(&format!("{}.part", taken_at(&[50])[0].name)));
        let gone = pruned(&names, 2);
        let old = taken_at(&[100, 200]);
        assert_eq!(gone, [&old[0].name, &old[1].name, &names.last().unwrap().name]);
        assert_eq!(pruned(&names, 9).len(), 1);
    }
}
