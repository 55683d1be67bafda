//! `mainstay server`: a server among others.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use clap::{Args, Subcommand};
use http::Method;

use crate::api_server::duration;
use crate::cli::UpFlags;
use crate::config::{MemberSettings, is_dns_name};
use crate::data_dir::DataDir;
use crate::join::{Invitation, Joiner, SERVERS, check_same_cluster, join_as_server};
use crate::recover::{self, RecoverFlags};
use crate::refusal::refuse;
use crate::snapshots::SnapshotFlags;
use crate::stale_reads::{self, AllowStaleFlags};
use crate::token::ClusterFlags;
use crate::up::{check_unused, host_name, install_crypto, print_line, resolve, runtime, serve, start_logs};
use crate::{node_address, preflight};

/// `mainstay server`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct ServerFlags {
    #[command(subcommand)]
    pub(crate) command: Option<ServerCommand>,
    #[command(flatten)]
    pub(crate) up: UpFlags,
    /// Join the cluster of this server, such as https://192.0.2.1:6443; only looked at with an empty data directory.
    #[arg(long, value_name = "URL", help_heading = "Servers")]
    pub(crate) join: Option<String>,
    /// The token to join with, of `mainstay token create --server`.
    #[arg(
        long,
        value_name = "TOKEN",
        env = "MAINSTAY_TOKEN",
        hide_env_values = true,
        help_heading = "Servers"
    )]
    pub(crate) token: Option<String>,
    /// Whether this machine runs pods.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set, help_heading = "Servers")]
    pub(crate) agent: bool,
    /// This machine's address for the other machines [default: --bind's, or that of the default route].
    #[arg(long, value_name = "IP", help_heading = "Servers")]
    pub(crate) node_ip: Option<IpAddr>,
    /// How long a node may be silent before its pods are moved away; the same on every server.
    #[arg(long, value_name = "DURATION", default_value = "50s", value_parser = node_grace, help_heading = "Servers")]
    pub(crate) node_monitor_grace_period: Duration,
    /// When too few servers answer, answer reads with what this server has, and a warning that it may be stale; without it they
    /// are refused. `mainstay server allow-stale` does the same to a server that runs.
    #[arg(long, help_heading = "Servers")]
    pub(crate) allow_stale: bool,
    /// Where the store listens for the other servers, with TLS on both sides [default: the machine's address, port 2380].
    #[arg(long, value_name = "IP:PORT", help_heading = "Servers")]
    pub(crate) peer_bind: Option<SocketAddr>,
    #[command(flatten)]
    pub(crate) snapshots: SnapshotFlags,
}

/// What can be done about servers.
#[derive(Debug, Subcommand)]
pub(crate) enum ServerCommand {
    /// Remove a server that is lost from the cluster: its name and address are free again, and it does not count any more.
    Remove {
        /// Its name.
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        cluster: ClusterFlags,
    },
    /// Go on with the one server that is left, when the others are lost for good and no majority will ever be there again.
    ///
    /// Run it on the server that is left, while that is stopped. It says what it will do and asks. All that this server has is
    /// kept; the others are given up, and join again with empty directories. If a majority of the servers can be started again,
    /// start them instead: nothing is lost then. Of several that are left, take the one whose `mainstay status` showed the
    /// highest entry.
    Recover(RecoverFlags),
    /// Let one server answer reads although too few servers are left, with a warning that they may be stale.
    AllowStale(AllowStaleFlags),
}

impl ServerFlags {
    /// Where the store listens for the other servers, on a machine with this address.
    pub(crate) fn peer_address(&self, node_ip: IpAddr) -> SocketAddr {
        self.peer_bind.unwrap_or_else(|| SocketAddr::new(node_ip, PEER_PORT))
    }
}

/// How often a node renews its Lease, as upstream's.
const NODE_RENEWS: Duration = Duration::from_secs(10);
/// The port of the store's members; etcd's.
const PEER_PORT: u16 = 2380;

/// Runs a server until SIGTERM or SIGINT, after it has joined if it is asked to.
///
/// # Errors
/// A refusal before anything was changed, or a part that could not start.
pub(crate) fn run(flags: &ServerFlags) -> anyhow::Result<()> {
    match &flags.command {
        None => {}
        Some(ServerCommand::Remove { name, cluster }) => return remove(name, cluster),
        Some(ServerCommand::Recover(flags)) => return recover::run(flags),
        Some(ServerCommand::AllowStale(flags)) => return stale_reads::run(flags),
    }
    preflight::check_machine()?;
    start_logs(&flags.up.log, flags.up.log_json)?;
    install_crypto()?;
    check_unused(&flags.up.data_dir)?;
    let is_new = DataDir::cluster(&flags.up.data_dir)?.is_none();
    let invitation = match &flags.join {
        Some(url) if is_new => Some(Invitation::parse(url, flags.token.as_deref())?),
        _ => None,
    };
    if !is_new {
        let (join, token) = (flags.join.as_deref(), flags.token.as_deref());
        check_same_cluster(&flags.up.data_dir, join, token, &[])?;
    }
    let node_ip = match (&invitation, flags.node_ip) {
        (Some(invitation), None) if flags.up.bind.ip().is_unspecified() => {
            node_address::towards(invitation.server)?
        }
        (_, given) => node_address::of_server(given, flags.up.bind)?,
    };
    let peer_bind = flags.peer_address(node_ip);
    if let Some(invitation) = &invitation {
        join(flags, invitation, node_ip, peer_bind)?;
    }
    let snapshots = flags.snapshots.settings(&flags.up.data_dir)?;
    let member = MemberSettings {
        peer_bind,
        runs_agent: flags.agent,
        snapshots,
        stale_reads: flags.allow_stale,
        node_grace: flags.node_monitor_grace_period,
    };
    let config = resolve(&flags.up, Some((member, node_ip)))?;
    preflight::check(&config)?;
    serve(&config)
}

/// A time in which a node that is well has renewed its Lease.
fn node_grace(text: &str) -> Result<Duration, String> {
    let grace = duration(text)?;
    if grace <= NODE_RENEWS {
        return Err(format!("it must be longer than {} s: nodes report so often", NODE_RENEWS.as_secs()));
    }
    Ok(grace)
}

fn join(
    flags: &ServerFlags,
    invitation: &Invitation,
    node_ip: IpAddr,
    peer_bind: SocketAddr,
) -> anyhow::Result<()> {
    let up = &flags.up;
    if up.cluster_cidr.is_some() || up.service_cidr.is_some() {
        return Err(refuse(
            "--cluster-cidr and --service-cidr are the cluster's: leave them out with --join",
        ));
    }
    let node_name = up.node_name.clone().unwrap_or_else(|| host_name().to_lowercase());
    if !is_dns_name(&node_name) {
        return Err(refuse(format!("--node-name {node_name:?} is not a DNS name: use one such as node-1")));
    }
    preflight::port_is_free("--bind", up.bind)?;
    preflight::port_is_free("--peer-bind", peer_bind)?;
    let joiner = Joiner {
        data_dir: &up.data_dir,
        node_name: &node_name,
        node_ip,
        peer_bind,
        api_port: up.bind.port(),
        runs_agent: flags.agent,
        has_encryption: up.api_server.encryption_provider_config.is_some(),
    };
    runtime()?.block_on(join_as_server(invitation, &joiner))
}

fn remove(name: &str, cluster: &ClusterFlags) -> anyhow::Result<()> {
    install_crypto()?;
    runtime()?.block_on(async {
        let (client, _ca) = cluster.connect().await?;
        let path = format!("{SERVERS}?name={name}");
        let request = http::Request::builder().method(Method::DELETE).uri(path).body(Vec::new())?;
        match client.request_text(request).await {
            Ok(_done) => print_line(&format!("server {name} is removed")),
            Err(kube::Error::Api(status)) => Err(refuse(status.message)),
            Err(error) => Err(error.into()),
        }
    })
}
