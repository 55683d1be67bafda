//! The archive: a gzipped tar file that only its owner can read.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::refusal::refuse;

/// An archive that is being written.
pub(super) struct Archive {
    tar: tar::Builder<GzEncoder<File>>,
    folder: String,
    time: u64,
}

impl Archive {
    /// A new file, with everything in it below `folder` and of this `time` (seconds of Unix time).
    ///
    /// # Errors
    /// A refusal where the file is there already or cannot be made.
    pub(super) fn create(file: &Path, folder: &str, time: u64) -> anyhow::Result<Self> {
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
        let made = made.map_err(|error| refuse(format!("--output {}: {error}", file.display())))?;
        let tar = tar::Builder::new(GzEncoder::new(made, Compression::default()));
        Ok(Self { tar, folder: folder.to_owned(), time })
    }

    /// One more file.
    ///
    /// # Errors
    /// The disk's.
    pub(super) fn add(&mut self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(self.time);
        let path = format!("{}/{name}", self.folder);
        self.tar
            .append_data(&mut header, path, bytes)
            .with_context(|| format!("adding {name} to the archive"))
    }

    /// Ends it: by now it is on the disk.
    ///
    /// # Errors
    /// The disk's.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        let written = self.tar.into_inner().and_then(GzEncoder::finish).and_then(|file| file.sync_all());
        written.context("ending the archive")
    }
}
