//! `mainstay agent`: a worker.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use mainstay_agents_kit::servers::Servers;
use mainstay_base::lifecycle::{Clock, SystemClock, Tasks};
use mainstay_base::pki::not_after;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::agent_files::{AgentFile, CA, NODE};
use crate::agent_renewal::AgentRenewal;
use crate::assemble::{NodeParts, end, open_runtime, start_node};
use crate::cli::DATA_DIR;
use crate::clients::API_HOST;
use crate::config::is_dns_name;
use crate::data_dir::DataDir;
use crate::join::{Invitation, check_same_cluster, join_as_agent, rejoin_as_agent};
use crate::membership::MemberFile;
use crate::node_address::reachable;
use crate::refusal::refuse;
use crate::up::{check_unused, host_name, install_crypto, print_line, runtime, start_logs, wait_for_stop};
use crate::{notices, preflight};

/// The node must be Ready within this time after a join, or the start counts as failed.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// `mainstay agent`.
#[derive(Debug, Args)]
pub(crate) struct AgentFlags {
    /// Directory for the node's state; made at the first start.
    #[arg(long, value_name = "DIR", default_value = DATA_DIR)]
    pub(crate) data_dir: PathBuf,
    /// Join the cluster of this server, such as https://192.0.2.1:6443; only looked at with an empty data directory, or when the
    /// node's certificate has ended while it was off.
    #[arg(long, value_name = "URL")]
    pub(crate) join: Option<String>,
    /// The token to join with, of `mainstay token create`.
    #[arg(long, value_name = "TOKEN", env = "MAINSTAY_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// This node's name [default at the first start: the host name].
    #[arg(long, value_name = "NAME")]
    pub(crate) node_name: Option<String>,
    /// This machine's address for the other machines [default at the first start: the one that leads to the server].
    #[arg(long, value_name = "IP")]
    pub(crate) node_ip: Option<IpAddr>,
    /// What to log: error, warn, info, debug, trace, or directives such as info,mainstay_agents_node=debug.
    #[arg(long, value_name = "FILTER", default_value = crate::cli::LOG_FILTER)]
    pub(crate) log: String,
    /// Write logs as JSON, one object a line.
    #[arg(long)]
    pub(crate) log_json: bool,
}

/// Runs a worker until SIGTERM or SIGINT, after it has joined if its directory is empty.
///
/// # Errors
/// A refusal before anything was changed, or a part that could not start.
pub(crate) fn run(flags: &AgentFlags) -> anyhow::Result<()> {
    let clock = SystemClock;
    let began = clock.now();
    preflight::check_machine()?;
    start_logs(&flags.log, flags.log_json)?;
    install_crypto()?;
    check_unused(&flags.data_dir)?;
    let tokio = runtime()?;
    if DataDir::cluster(&flags.data_dir)?.is_none() {
        tokio.block_on(join(flags))?;
    } else if MemberFile::exists(&flags.data_dir) || !AgentFile::exists(&flags.data_dir) {
        let dir = flags.data_dir.display();
        return Err(refuse(format!(
            "{dir} is that of a server: start it with `mainstay server` or `mainstay up`"
        )));
    } else {
        let servers = AgentFile::read_at(&flags.data_dir)?.servers;
        check_same_cluster(&flags.data_dir, flags.join.as_deref(), flags.token.as_deref(), &servers)?;
        tokio.block_on(rejoin_if_ended(flags))?;
    }
    tokio.block_on(async {
        let worker = Box::pin(Worker::start(flags)).await?;
        let ready = tokio::time::timeout(START_TIMEOUT, worker.node.ready());
        tokio::select! {
            biased;
            stopped = wait_for_stop() => {
                worker.stop().await;
                return stopped;
            }
            ready = ready => match ready {
                Ok(()) => print_line(&format!("ready in {} ms", (clock.now() - began).as_millis()))?,
                // A worker that comes back while no server is there keeps its pods.
                Err(_elapsed) => warn!("no API server has said yet that this node is Ready; its pods run on"),
            },
        }
        // A worker lives without its servers: its own tasks running is what can be told.
        notices::ready(&worker.tasks, || async { true });
        wait_for_stop().await?;
        info!("stopping; containers run on");
        notices::stopping();
        worker.stop().await;
        Ok(())
    })
}

async fn join(flags: &AgentFlags) -> anyhow::Result<()> {
    let Some(url) = &flags.join else {
        return Err(refuse(format!(
            "{} holds no cluster yet: give --join https://IP:6443 and --token, which `mainstay server` prints",
            flags.data_dir.display()
        )));
    };
    let node_name = flags.node_name.clone().unwrap_or_else(|| host_name().to_lowercase());
    if !is_dns_name(&node_name) {
        return Err(refuse(format!("--node-name {node_name:?} is not a DNS name: use one such as node-1")));
    }
    flags.node_ip.map_or(Ok(()), reachable)?;
    let invitation = Invitation::parse(url, flags.token.as_deref())?;
    join_as_agent(&invitation, &flags.data_dir, &node_name, flags.node_ip).await
}

/// A node whose certificate has ended is believed by nobody: a token gives it another one.
async fn rejoin_if_ended(flags: &AgentFlags) -> anyhow::Result<()> {
    let cluster = DataDir::existing(&flags.data_dir)?;
    let file = flags.data_dir.join(format!("{NODE}.crt"));
    let text = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let ended = not_after(&text).with_context(|| format!("reading {}", file.display()))?;
    if SystemClock.wall() < ended {
        return Ok(());
    }
    let Some(url) = &flags.join else {
        return Err(refuse(format!(
            "the certificate of node {} ended on {}, by this machine's clock: give --join https://IP:6443 and --token, of `mainstay \
             token create` on a server, for a new one; the node and its data stay",
            cluster.node_name,
            ended.date()
        )));
    };
    let invitation = Invitation::parse(url, flags.token.as_deref())?;
    let node_ip =
        flags.node_ip.map_or_else(|| anyhow::Ok(AgentFile::read_at(&flags.data_dir)?.node_ip), Ok)?;
    let path = std::path::absolute(&flags.data_dir).context("finding the data directory")?;
    rejoin_as_agent(&invitation, &path, &cluster, node_ip).await?;
    info!(node = cluster.node_name, "the certificate of this node had ended; it has another one now");
    Ok(())
}

/// A running worker.
struct Worker {
    node: crate::assemble::RunningNode,
    tasks: Tasks,
}

impl Worker {
    async fn start(flags: &AgentFlags) -> anyhow::Result<Self> {
        let cluster = DataDir::existing(&flags.data_dir)?;
        if let Some(given) = flags.node_name.as_ref().filter(|given| **given != cluster.node_name) {
            return Err(refuse(format!(
                "--node-name is {given}, but this node joined as {}: leave the flag out, or join again with another --data-dir",
                cluster.node_name
            )));
        }
        let path = std::path::absolute(&flags.data_dir).context("finding the data directory")?;
        let dir = Arc::new(DataDir::take(&path, &cluster)?);
        let mut file = AgentFile::read_at(&path)?;
        if let Some(ip) = flags.node_ip {
            file.node_ip = ip;
        }
        let tasks = Tasks::new("agent", CancellationToken::new());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let servers = Servers::new(file.servers.clone()).context("choosing an API server")?;
        let ca_pem = std::fs::read_to_string(dir.join(CA)).context("reading the cluster's authority")?;
        let node = (cluster.node_name.clone(), file.node_ip);
        let renewal = AgentRenewal::new(Arc::clone(&dir), node, (API_HOST, ca_pem)).await?;
        let (settings, serving, trusted) = (renewal.settings(), renewal.serving(), renewal.trusted());
        let client = servers.renewing_client(&settings).context("making the API client of the node")?;
        servers.watch_over(&settings, Arc::clone(&clock), &tasks).context("following the API servers")?;
        renewal.run(client.clone(), Arc::clone(&clock), &tasks).await?;
        let container_runtime = open_runtime(&cluster, &dir, &tasks).await?;
        let parts = NodeParts {
            cluster: &cluster,
            node_ip: file.node_ip,
            dir: &dir,
            trusted,
            serving,
            node_client: client.clone(),
            proxy_client: client,
            clock,
        };
        let started = Box::pin(start_node(&parts, container_runtime, &tasks)).await;
        let node = match started {
            Ok(node) => node,
            Err(error) => {
                end(&[&tasks]).await;
                return Err(error);
            }
        };
        let (mut news, stop) = (servers.news(), tasks.token());
        tasks.spawn("remember servers", async move {
            loop {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return anyhow::Ok(()),
                    changed = news.changed() => if changed.is_err() { return Ok(()) },
                }
                file.servers.clone_from(&news.borrow_and_update());
                file.write(&dir)?;
            }
        });
        Ok(Self { node, tasks })
    }

    async fn stop(self) {
        end(&[&self.tasks]).await;
    }
}
