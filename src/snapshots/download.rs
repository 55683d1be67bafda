//! A snapshot that is to be restored, as a file: its own, or that of an object, which has no name so that nothing is left of it.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use futures::StreamExt as _;

use super::bucket::BucketFlags;
use super::place::Place;
use super::shelf::Shelf;
use crate::up::{install_crypto, runtime};

/// A file for as long as this lives.
pub(super) struct Held {
    path: PathBuf,
    /// What came from a bucket; its path leads to it while it is open.
    _file: Option<File>,
}

impl Held {
    /// Fetches an object, to the disk that `near` is or will be on; a file stays where it is.
    ///
    /// # Errors
    /// A refusal of the bucket, or the disk's error.
    pub(super) fn of(place: &Place, flags: &BucketFlags, near: &Path) -> anyhow::Result<Self> {
        if let Place::Path(path) = place {
            return Ok(Self { path: path.clone(), _file: None });
        }
        install_crypto()?;
        let (folder, name) = place.split()?;
        let Shelf::Bucket(bucket) = Shelf::open(&folder, flags)? else {
            anyhow::bail!("{place} is in no bucket");
        };
        let mut file = nameless(near)?;
        runtime()?.block_on(async {
            let mut pieces = std::pin::pin!(bucket.get(&name).await?);
            while let Some(piece) = pieces.next().await {
                let piece = piece.with_context(|| format!("reading {place}"))?;
                file.write_all(&piece).with_context(|| format!("writing what comes from {place}"))?;
            }
            anyhow::Ok(())
        })?;
        Ok(Self { path: PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())), _file: Some(file) })
    }

    /// Where it can be opened.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// A file on the disk of a directory that may not be there yet. It has no name any more, and ends with the process.
fn nameless(near: &Path) -> anyhow::Result<File> {
    let folder = near.ancestors().skip(1).find(|folder| folder.is_dir()).unwrap_or_else(|| Path::new("/"));
    let name = folder.join(format!(".mainstay-restore-{}", std::process::id()));
    let making = || format!("making {}", name.display());
    // Rows may be secret: for the owner only.
    let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&name);
    let file = file.with_context(making)?;
    std::fs::remove_file(&name).with_context(making)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_fetched_leaves_no_name_and_can_be_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = nameless(&dir.path().join("data")).unwrap();
        file.write_all(b"rows").unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let again = format!("/proc/self/fd/{}", file.as_raw_fd());
        assert_eq!(std::fs::read(again).unwrap(), b"rows");
    }
}
