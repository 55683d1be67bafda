//! The end of a cluster on this machine: every container, mount, cgroup, namespace, rule and bridge goes, images stay.
//! Needs no daemon, only that none runs. May be repeated after a failure.

use crate::cgroup::Hierarchies;
use crate::config::Config;
use crate::durable::{self, Lock};
use crate::failure::{Attempt, Failure, Result};
use crate::network::Network;
use std::path::{Path, PathBuf};

/// Removes everything that a runtime with this configuration made, except its images.
///
/// # Errors
/// `FailedPrecondition` while a daemon uses the data directory; else what could not be removed.
pub async fn teardown(config: &Config) -> Result<()> {
    config.validate()?;
    let (blocking, sandboxes) = {
        let config = config.clone();
        let work = tokio::task::spawn_blocking(move || end_processes(&config));
        work.await.attempt("ending the containers")??
    };
    for sandbox in sandboxes {
        Network::remove_link(config, &sandbox).await?;
    }
    Network::remove_all(config).await?;
    let config = config.clone();
    tokio::task::spawn_blocking(move || remove_files(&config)).await.attempt("removing files")??;
    drop(blocking);
    Ok(())
}

/// Kills all processes of the cluster, shims last: they note how the others ended. Returns the sandboxes.
fn end_processes(config: &Config) -> Result<(Option<Lock>, Vec<String>)> {
    let paths = config.paths();
    let lock = if paths.data.is_dir() {
        let lock =
            Lock::try_exclusive(&paths.data.join("runtime.lock")).attempt("locking the data directory")?;
        let running =
            || Failure::precondition(format!("a daemon still uses {}: stop it first", paths.data.display()));
        Some(lock.ok_or_else(running)?)
    } else {
        None
    };
    let groups = Hierarchies::find()?;
    groups.kill(&config.cgroup_root())?;
    groups.remove(&config.cgroup_root())?;
    Ok((lock, names(&paths.sandboxes())?))
}

fn names(dir: &Path) -> Result<Vec<String>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).attempt_with(|| format!("listing {}", dir.display())),
    };
    Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
}

fn remove_files(config: &Config) -> Result<()> {
    let paths = config.paths();
    let run = paths.run.canonicalize().unwrap_or_else(|_| paths.run.clone());
    let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").attempt("reading the mounts")?;
    for target in mounts_below(&mountinfo, &run) {
        crate::images::unmount(&target)?;
    }
    let addresses = paths.addresses();
    durable::remove_file(&addresses).attempt("removing the address table")?;
    // Of the run directory only what is ours: it may be shared with the rest of the program.
    for dir in [run.join("s"), run.join("c"), run.join("oci"), paths.sandboxes(), paths.containers()] {
        durable::remove_tree(&dir).attempt_with(|| format!("removing {}", dir.display()))?;
    }
    Ok(())
}

/// Mount points below our own directories, innermost first.
fn mounts_below(mountinfo: &str, run: &Path) -> Vec<PathBuf> {
    let ours = [run.join("s"), run.join("c"), run.join("oci")];
    let mut found: Vec<PathBuf> = mountinfo
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|point| PathBuf::from(unescape(point)))
        .filter(|point| ours.iter().any(|dir| point.starts_with(dir)))
        .collect();
    found.reverse();
    found
}

/// Mountinfo writes blanks and backslashes as octal numbers.
fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let code = after.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        if let Some(byte) = code {
            out.push(char::from(byte));
            rest = after.get(3..).unwrap_or_default();
        } else {
            out.push('\\');
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mounts_below_our_directories_are_found() {
        let info = "1 0 0:1 / / rw - ext4 x rw\n2 1 0:2 / /run/m/s/a/shm rw - tmpfs x rw\n\
            3 1 0:3 / /run/m/c/b\\040c/rootfs rw - overlay x rw\n4 1 0:4 / /run/m/sother rw - tmpfs x rw\n\
            5 1 0:5 / /run/other/s/x rw - tmpfs x rw\n";
        let found = mounts_below(info, Path::new("/run/m"));
        assert_eq!(found, [Path::new("/run/m/c/b c/rootfs"), Path::new("/run/m/s/a/shm")]);
    }
}
