//! Snapshots in words: one, or all of a directory or a bucket.

use anyhow::Context as _;

use super::bucket::BucketFlags;
use super::place::Place;
use super::shelf::{END, Entry, Shelf, shown};
use crate::up::{print_line, runtime};

/// One snapshot in words.
///
/// # Errors
/// It is damaged, or of another version.
pub(crate) fn print_status(at: &Place, flags: &BucketFlags, as_json: bool) -> anyhow::Result<()> {
    let (folder, name) = at.split()?;
    let looked = runtime()?.block_on(async { Shelf::open(&folder, flags)?.look(&name).await });
    let (manifest, status) = looked.with_context(|| at.to_string())?;
    let keys = if manifest.keys.is_some() { "with sealed keys" } else { "without keys" };
    if as_json {
        let line = serde_json::json!({
            "revision": status.revision.0, "totalKey": status.keys, "totalSize": status.size_bytes, "format": "cluster",
            "takenAt": manifest.taken_at, "server": manifest.server, "keys": manifest.keys.is_some(),
            "oldestRevision": status.oldest.map(|oldest| oldest.0),
        });
        return print_line(&line.to_string());
    }
    let since = status.oldest.map_or(1, |oldest| oldest.0.max(1));
    print_line(&format!(
        "{at}: snapshot of a cluster, taken {} on server {}, revision {} (restores at any from {since} on), {} rows, {} bytes, {keys}",
        shown(manifest.taken_at),
        manifest.server,
        status.revision,
        status.keys,
        status.size_bytes
    ))
}

/// All snapshots of a place, each checked; or `quick`, by what they say of themselves.
///
/// # Errors
/// One of them is damaged; or the place cannot be read.
pub(crate) fn print_list(at: &Place, flags: &BucketFlags, quick: bool) -> anyhow::Result<()> {
    runtime()?.block_on(async {
        let shelf = Shelf::open(at, flags)?;
        let mut entries = shelf.entries().await?;
        entries.retain(|entry| entry.name.ends_with(END));
        if entries.is_empty() {
            return print_line(&format!("no snapshots in {at}"));
        }
        print_line(&row(["NAME", "TAKEN", "REVISION", "BYTES", "KEYS", "OK"]))?;
        let mut bad = 0;
        for entry in &entries {
            let told = if quick { quick_line(&shelf, entry).await } else { line(&shelf, entry).await };
            match told {
                Ok(line) => print_line(&line)?,
                Err(_gone) if is_gone(&shelf, entry) => {} // pruned meanwhile
                Err(error) => {
                    bad += 1;
                    print_line(&row([&entry.name, "-", "-", "-", "-", &format!("no: {error:#}")]))?;
                }
            }
        }
        if bad > 0 {
            anyhow::bail!("{bad} of {} snapshots cannot be used: remove them", entries.len());
        }
        Ok(())
    })
}

async fn line(shelf: &Shelf, entry: &Entry) -> anyhow::Result<String> {
    let (manifest, status) = shelf.look(&entry.name).await?;
    let keys = if manifest.keys.is_some() { "sealed" } else { "no" };
    let (revision, bytes) = (status.revision.to_string(), status.size_bytes.to_string());
    Ok(row([&entry.name, &shown(manifest.taken_at), &revision, &bytes, keys, "yes"]))
}

async fn quick_line(shelf: &Shelf, entry: &Entry) -> anyhow::Result<String> {
    let manifest = shelf.look_at_head(&entry.name).await?;
    let keys = if manifest.keys.is_some() { "sealed" } else { "no" };
    Ok(row([&entry.name, &shown(manifest.taken_at), "-", &entry.bytes.to_string(), keys, "not read"]))
}

fn is_gone(shelf: &Shelf, entry: &Entry) -> bool {
    matches!(shelf, Shelf::Dir(dir) if !dir.join(&entry.name).exists())
}

fn row(cells: [&str; 6]) -> String {
    let [name, taken, revision, bytes, keys, ok] = cells;
    format!("{name:<36} {taken:<20} {revision:>12} {bytes:>12}  {keys:<6} {ok}")
}
