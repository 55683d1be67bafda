//! A directory of snapshots: the names in it, which are pruned, and what a look at each tells.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use mainstay_store::{SnapshotStatus, snapshot_status};
use time::OffsetDateTime;
use time::macros::format_description;

use super::bundle::{Manifest, read_head};
use crate::refusal::refuse;
use crate::up::print_line;

/// How the names of those begin that were taken by the clock; others are never pruned.
const PREFIX: &str = "scheduled-";
const END: &str = ".snapshot";
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

/// The newest of the snapshots that were taken by the clock: its name, and when it was taken.
pub(super) fn newest(names: &[String]) -> Option<(&str, OffsetDateTime)> {
    names.iter().filter_map(|name| Some((name.as_str(), taken(name)?))).max_by_key(|(_, taken)| *taken)
}

/// How long until the next snapshot is due. The first one of a server waits until it has settled.
pub(super) fn due_in(
    names: &[String],
    now: OffsetDateTime,
    interval: Duration,
    settle: Duration,
) -> Duration {
    let Some((_, newest)) = newest(names) else { return settle.min(interval) };
    let age = now - newest;
    if age.is_negative() {
        return interval; // the clock was set back
    }
    interval.saturating_sub(age.unsigned_abs())
}

/// What is to be removed so that the newest `keep` stay, and what a crash left unfinished. Other files are nobody's business.
pub(super) fn pruned(names: &[String], keep: usize) -> Vec<&str> {
    let mut whole: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| taken(name).is_some()).collect();
    whole.sort_unstable();
    let old = whole.len().saturating_sub(keep);
    let unfinished = names
        .iter()
        .map(String::as_str)
        .filter(|name| name.strip_suffix(PART).is_some_and(|whole| taken(whole).is_some()));
    whole.into_iter().take(old).chain(unfinished).collect()
}

/// The names in a directory; none where it is missing.
pub(super) fn names(dir: &Path) -> anyhow::Result<Vec<String>> {
    let reading = || format!("reading {}", dir.display());
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(reading),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.with_context(reading)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Reads all of a snapshot and checks every sum.
///
/// # Errors
/// What is wrong with it.
pub(super) fn look(file: &Path) -> anyhow::Result<(Manifest, SnapshotStatus)> {
    let mut open = File::open(file).map_err(|error| refuse(format!("{}: {error}", file.display())))?;
    let manifest = read_head(&mut open)?;
    let status =
        snapshot_status(&mut open).map_err(|error| refuse(format!("{:#}", anyhow::Error::new(error))))?;
    Ok((manifest, status))
}

/// One snapshot in words.
///
/// # Errors
/// It is damaged, or of another version.
pub(crate) fn print_status(file: &Path, as_json: bool) -> anyhow::Result<()> {
    let (manifest, status) = look(file).with_context(|| file.display().to_string())?;
    let keys = if manifest.keys.is_some() { "with sealed keys" } else { "without keys" };
    if as_json {
        let line = serde_json::json!({
            "revision": status.revision.0, "totalKey": status.keys, "totalSize": status.size_bytes, "format": "cluster",
            "takenAt": manifest.taken_at, "server": manifest.server, "keys": manifest.keys.is_some(),
        });
        return print_line(&line.to_string());
    }
    print_line(&format!(
        "{}: snapshot of a cluster, taken {} on server {}, revision {}, {} rows, {} bytes, {keys}",
        file.display(),
        shown(manifest.taken_at),
        manifest.server,
        status.revision,
        status.keys,
        status.size_bytes
    ))
}

/// All snapshots of a directory, each checked.
///
/// # Errors
/// One of them is damaged; or the directory cannot be read.
pub(crate) fn print_list(dir: &Path) -> anyhow::Result<()> {
    let files: Vec<PathBuf> =
        names(dir)?.iter().filter(|name| name.ends_with(END)).map(|name| dir.join(name)).collect();
    if files.is_empty() {
        return print_line(&format!("no snapshots in {}", dir.display()));
    }
    print_line(&row(["NAME", "TAKEN", "REVISION", "BYTES", "KEYS", "OK"]))?;
    let mut bad = 0;
    for file in &files {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let line = match look(file) {
            Ok((manifest, status)) => {
                let keys = if manifest.keys.is_some() { "sealed" } else { "no" };
                let (revision, bytes) = (status.revision.to_string(), status.size_bytes.to_string());
                row([&name, &shown(manifest.taken_at), &revision, &bytes, keys, "yes"])
            }
            Err(_gone) if !file.exists() => continue, // pruned meanwhile
            Err(error) => {
                bad += 1;
                row([&name, "-", "-", "-", "-", &format!("no: {error:#}")])
            }
        };
        print_line(&line)?;
    }
    if bad > 0 {
        anyhow::bail!("{bad} of {} snapshots cannot be used: remove them", files.len());
    }
    Ok(())
}

fn row(cells: [&str; 6]) -> String {
    let [name, taken, revision, bytes, keys, ok] = cells;
    format!("{name:<36} {taken:<20} {revision:>12} {bytes:>12}  {keys:<6} {ok}")
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

    fn taken_at(seconds: &[i64]) -> Vec<String> {
        seconds.iter().map(|seconds| name(at(*seconds)).unwrap()).collect()
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
        let due = |names: &[String], now| due_in(names, at(now), HOUR, SETTLE);
        assert_eq!(due(&taken_at(&[0, 100]), 700), Duration::from_secs(3_000));
        assert_eq!(due(&taken_at(&[0]), 9000), Duration::ZERO, "it was missed");
        assert_eq!(due(&[], 0), SETTLE);
        assert_eq!(due(&["by-hand.snapshot".to_owned()], 0), SETTLE);
        assert_eq!(due(&taken_at(&[500]), 0), HOUR, "the clock was set back");
        assert_eq!(due_in(&[], at(0), Duration::from_secs(2), SETTLE), Duration::from_secs(2));
    }

    #[test]
    fn the_newest_are_kept_and_only_our_own_are_pruned() {
        let mut names = taken_at(&[300, 100, 200, 400]);
        names.extend(["by-hand.snapshot", "notes.txt", "by-hand.snapshot.part"].map(str::to_owned));
        names.push(format!("{}.part", taken_at(&[50])[0]));
        let gone = pruned(&names, 2);
        let old = taken_at(&[100, 200]);
        assert_eq!(gone, [old[0].as_str(), old[1].as_str(), names.last().unwrap().as_str()]);
        assert_eq!(pruned(&names, 9).len(), 1);
    }
}
