//! `mainstay down`: stops a cluster and removes everything that it made on this machine but its data.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use mainstay_base::lifecycle::{Clock, SystemClock};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::assemble::runtime_config;
use crate::cli::DataDirFlags;
use crate::config::{run_dir, service_table};
use crate::data_dir::DataDir;
use crate::up::print_line;

/// A daemon ends within its own grace periods; more means that it hangs.
const DAEMON_TIMEOUT: Duration = Duration::from_secs(40);

/// Stops the daemon if it runs, then removes containers, network and rules.
///
/// # Errors
/// Nothing is there, or something could not be removed.
pub(crate) fn run(flags: &DataDirFlags) -> anyhow::Result<()> {
    let cluster = DataDir::existing(&flags.data_dir)?;
    if let Some(pid) = DataDir::user(&flags.data_dir)? {
        print_line(&format!("stopping mainstay process {pid}"))?;
        stop_daemon(pid)?;
    }
    let data_dir = std::path::absolute(&flags.data_dir).context("finding the data directory")?;
    let dir = DataDir::take(&data_dir, &cluster)?; // nobody starts it again meanwhile
    let runtime = runtime_config(&cluster, &dir.join("runtime"));
    let tokio =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting tokio")?;
    tokio.block_on(async {
        mainstay_runtime::teardown(&runtime).await.context("removing containers and network")?;
        mainstay_agents_proxy::teardown(&service_table(&cluster.id))
            .await
            .context("removing the rules of Services")?;
        mainstay_agents_proxy::routes::remove(cluster.cluster_cidr)
            .await
            .context("removing the routes to other nodes")
    })?;
    remove_tree(&run_dir(&cluster.id))?;
    print_line(&format!("cluster {} is down; its data stays in {}", cluster.id, data_dir.display()))
}

fn stop_daemon(pid: u32) -> anyhow::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("the lock names no process")?;
    let Ok(daemon) = pidfd_open(pid, PidfdFlags::empty()) else { return Ok(()) }; // it ended meanwhile
    pidfd_send_signal(&daemon, Signal::TERM).context("sending SIGTERM to mainstay")?;
    let clock = SystemClock;
    let deadline = clock.now() + DAEMON_TIMEOUT;
    loop {
        let left = deadline.saturating_duration_since(clock.now());
        let timeout = Timespec::try_from(left).context("waiting for mainstay to end")?;
        match poll(&mut [PollFd::new(&daemon, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => bail!("mainstay did not end within {} s of SIGTERM", DAEMON_TIMEOUT.as_secs()),
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("waiting for mainstay to end"),
        }
    }
}

fn remove_tree(path: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}
