//! Where the service's files are, and whose they are.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use mainstay_base::lifecycle::{Clock as _, SystemClock};

use super::text::MARK;
use crate::refusal::refuse;
use crate::settings::CONFIG_FILE;

/// The service's name.
pub(super) const SERVICE: &str = "mainstay.service";
const UNITS: &str = "/etc/systemd/system";
/// systemd runs where this is (sd_booted(3)).
const BOOTED: &str = "/run/systemd/system";

/// The files of the service below a root: the machine's own, or that of an image that is being made.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) unit: PathBuf,
    pub(super) config: PathBuf,
    enabled: PathBuf,
    is_image: bool,
}

impl Files {
    /// # Errors
    /// A refusal where there is no systemd to speak to, and no other root.
    pub(super) fn below(root: Option<&Path>) -> anyhow::Result<Self> {
        if root.is_none() && !Path::new(BOOTED).is_dir() {
            return Err(refuse(
                "systemd does not run here: start the daemon by other means, or give --root for the files alone",
            ));
        }
        let base = root.unwrap_or_else(|| Path::new("/"));
        let below = |path: &str| base.join(path.trim_start_matches('/'));
        Ok(Self {
            unit: below(UNITS).join(SERVICE),
            config: below(CONFIG_FILE),
            enabled: below(UNITS).join("multi-user.target.wants").join(SERVICE),
            is_image: root.is_some(),
        })
    }

    /// Whether a unit is there; one that somebody else wrote is refused.
    pub(super) fn has_unit(&self) -> anyhow::Result<bool> {
        match fs::read_to_string(&self.unit) {
            Ok(text) if text.starts_with(MARK) => Ok(true),
            Ok(_) => Err(refuse(format!(
                "{} was not written by `mainstay install`: move it away first",
                self.unit.display()
            ))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(refuse(format!("{} cannot be read: {error}", self.unit.display()))),
        }
    }

    /// Makes systemd start the service with the machine, and now where `starts`.
    pub(super) fn enable(&self, starts: bool) -> anyhow::Result<()> {
        if !self.is_image {
            systemctl(&["daemon-reload"])?;
            systemctl(&["enable", SERVICE])?;
            return if starts { start() } else { Ok(()) };
        }
        let folder = self.enabled.parent().context("the folder of enabled services")?;
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        match std::os::unix::fs::symlink(Path::new(UNITS).join(SERVICE), &self.enabled) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                Err(error).with_context(|| format!("enabling the service by {}", self.enabled.display()))
            }
            _ => Ok(()),
        }
    }

    /// Stops the service and takes its unit away.
    pub(super) fn remove_unit(&self) -> anyhow::Result<()> {
        if !self.is_image {
            systemctl(&["disable", "--now", SERVICE])?;
        }
        remove(&self.enabled)?;
        remove(&self.unit)?;
        if self.is_image { Ok(()) } else { systemctl(&["daemon-reload"]) }
    }
}

/// Removes a file that may be gone already; whether it was there.
pub(super) fn remove(path: &Path) -> anyhow::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("removing {}", path.display())),
    }
}

/// Removes a folder, unless it is gone already or something is left in it.
pub(super) fn remove_if_empty(folder: &Path) -> anyhow::Result<()> {
    match fs::remove_dir(folder) {
        Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty) => {
            Err(error).with_context(|| format!("removing {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Starts the service and waits until it is ready.
///
/// # Errors
/// What the daemon said last, if it has ended; or what systemd says.
fn start() -> anyhow::Result<()> {
    let began = SystemClock.wall().unix_timestamp();
    let Err(error) = systemctl(&["restart", SERVICE]) else { return Ok(()) };
    Err(last_words(began).map_or(error, |why| {
        refuse(format!("{why} ({SERVICE} tries again every 2 s; `mainstay uninstall` takes it away)"))
    }))
}

/// Why a daemon that was started since then has ended, in its own words; none if the journal has none. It may be started again by now.
fn last_words(since: i64) -> Option<String> {
    let said = |program: &str, words: &[&str]| {
        let output = Command::new(program).args(words).output().ok()?;
        String::from_utf8(output.stdout).ok()
    };
    drop(said("journalctl", &["--sync"])); // what was said last may be on its way there
    let since = format!("@{since}");
    let words = ["--no-pager", "--output", "cat", "--unit", SERVICE, "--since", &since];
    let journal = said("journalctl", &words)?;
    journal.lines().rev().find_map(|line| line.strip_prefix("mainstay: ")).map(str::to_owned)
}

fn systemctl(words: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("systemctl").args(words).output().context("running systemctl")?;
    if !output.status.success() {
        bail!("systemctl {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
