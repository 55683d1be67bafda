//! `mainstay uninstall`.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use super::files::{Files, SERVICE, remove, remove_if_empty};
use crate::cli::DataDirFlags;
use crate::data_dir::DataDir;
use crate::down;
use crate::up::print_line;

/// `mainstay uninstall`.
#[derive(Debug, Args)]
pub(crate) struct UninstallFlags {
    #[command(flatten)]
    pub(crate) data_dir: DataDirFlags,
    /// Remove the data directory too: the cluster's state, its keys and its images are gone for good.
    #[arg(long)]
    pub(crate) delete_data: bool,
    /// Take the files away below this directory, of an image, and ask no systemd.
    #[arg(long, value_name = "DIR", conflicts_with = "delete_data")]
    pub(crate) root: Option<PathBuf>,
}

/// Takes the service away, with everything that runs. What is gone already is no error: it can be done again.
///
/// # Errors
/// A unit of somebody else's, what systemd says, or something that cannot be removed.
pub(crate) fn uninstall(flags: &UninstallFlags) -> anyhow::Result<()> {
    let files = Files::below(flags.root.as_deref())?;
    let data_dir = &flags.data_dir.data_dir;
    let was_there = files.has_unit()?;
    if was_there {
        files.remove_unit()?;
        print_line(&format!("{SERVICE} is gone"))?;
    }
    if flags.root.is_none() && DataDir::cluster(data_dir)?.is_some() {
        down::run(&flags.data_dir)?;
    }
    if was_there && remove(&files.config)? {
        print_line(&format!("{} is gone", files.config.display()))?;
        files.config.parent().map_or(Ok(()), remove_if_empty)?;
    }
    if flags.root.is_some() {
        return Ok(());
    }
    if flags.delete_data && data_dir.exists() {
        fs::remove_dir_all(data_dir).with_context(|| format!("removing {}", data_dir.display()))?;
        print_line(&format!("{} is gone", data_dir.display()))?;
    } else if data_dir.exists() {
        print_line(&format!("{} is left: --delete-data removes it", data_dir.display()))?;
    }
    Ok(())
}
