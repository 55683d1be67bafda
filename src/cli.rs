//! The command line: what `mainstay --help` teaches.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::agent::AgentFlags;
use crate::api_server::ApiServerFlags;
use crate::apiserver_command::ApiServerCommandFlags;
use crate::certs_command::CertsCommand;
use crate::config::certificate_lifetime;
use crate::refusal::refuse;
use crate::server::ServerFlags;
use crate::settings::{ConfigCommand, OfCommand};
use crate::snapshot_command::SnapshotCommand;
use crate::store_command::StoreFlags;
use crate::support::SupportFlags;
use crate::token::TokenCommand;
use crate::unit::{InstallFlags, UninstallFlags};

/// Where a cluster keeps everything when nothing else is said.
pub(crate) const DATA_DIR: &str = "/var/lib/mainstay";
/// What a daemon logs when nothing else is said. Consensus warns of what is in order: that an election ended while its vote was on its way to the disk.
/// The API's client tells of each failure once more, as an error, whatever its caller makes of it.
pub(crate) const LOG_FILTER: &str = "warn,mainstay=info,openraft=error,kube_client=off";

/// A complete Kubernetes in one binary.
///
/// `mainstay up` runs a whole one-node cluster in the foreground. Then, in another terminal:
/// `export KUBECONFIG=/var/lib/mainstay/admin.kubeconfig` and use kubectl as always.
///
/// A daemon's settings are its flags, then variables such as MAINSTAY_NODE_NAME for --node-name, then the file
/// /etc/mainstay/config.yaml with lines such as `node-name: node-1`, then defaults; `mainstay config print` shows them.
///
/// Exit codes: 0 done; 1 failed while working; 2 refused before anything was changed.
#[derive(Debug, Parser)]
#[command(name = "mainstay", version, about, long_about, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a one-node cluster in the foreground until SIGTERM or Ctrl-C; containers run on after it ends.
    Up(Box<UpFlags>),
    /// Run a server of a cluster that can grow: as `mainstay up`, and others can join it.
    ///
    /// The first server makes the cluster and prints how others join. With --join this machine becomes another server, whose
    /// store holds a copy of everything; of three servers any one may be lost. What it was told at the first start it
    /// remembers: start it again without --join.
    Server(Box<ServerFlags>),
    /// Run a worker: pods and their network, for the servers of a cluster. Remembers the cluster after the first --join.
    Agent(AgentFlags),
    /// Make, list and revoke the tokens with which machines join.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Stop the cluster of a data directory: its containers, mounts, cgroups, namespaces, rules and bridge.
    Down(DataDirFlags),
    /// Import, pull, list and remove container images.
    #[command(subcommand)]
    Image(ImageCommand),
    /// Say in words what runs and how healthy it is.
    Status(DataDirFlags),
    /// Gather what a maintainer needs to see of this cluster in one archive, without its secrets.
    Support(SupportFlags),
    /// Show what a daemon's settings are.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Say what this machine lacks to run a daemon, before anything is started.
    Check(OfCommand),
    /// Make a daemon a systemd service that starts with the machine; its flags go to /etc/mainstay/config.yaml.
    Install(InstallFlags),
    /// Take the service away again, with everything that runs; data stays unless --delete-data says otherwise.
    Uninstall(UninstallFlags),
    /// List the certificates of this machine and when they end; renew them now.
    #[command(subcommand)]
    Certs(CertsCommand),
    /// Run the API server alone, in the foreground, on a store that `mainstay store` or etcd serves.
    Apiserver(Box<ApiServerCommandFlags>),
    /// Run the store alone, for etcd's clients, in the foreground; flags and environment are etcd's.
    #[command(args_override_self = true)] // as with etcd's flags, the last one counts
    Store(Box<StoreFlags>),
    /// Save a running store to a file, make a data directory of one, say what one holds.
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Print the version.
    Version,
}

/// Of what is wrong with a command line only the line that says what; `note` is what there is to say besides. Help and
/// versions are shown as they are, and the process ends.
pub(crate) fn explained(error: &clap::Error, note: Option<&str>) -> anyhow::Error {
    if !error.use_stderr() {
        error.exit();
    }
    let text = error.to_string();
    let parts: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let usage = parts.iter().position(|line| line.starts_with("Usage:")).unwrap_or(parts.len());
    let what: Vec<&str> = parts.iter().take(usage).copied().chain(note).collect();
    refuse(format!("{} (see --help)", what.join("; ").trim_start_matches("error: ")))
}

/// `mainstay up`.
#[derive(Debug, Args)]
pub(crate) struct UpFlags {
    /// Directory for the cluster's state; made at the first start.
    #[arg(long, value_name = "DIR", default_value = DATA_DIR)]
    pub(crate) data_dir: PathBuf,
    /// Where to write the administrator's kubeconfig [default: DIR/admin.kubeconfig].
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Address and port of the API server (TLS only).
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:6443")]
    pub(crate) bind: SocketAddr,
    /// This node's name [default at the first start: the host name].
    #[arg(long, value_name = "NAME")]
    pub(crate) node_name: Option<String>,
    /// Addresses of pods [default at the first start: 10.42.0.0/16].
    #[arg(long, value_name = "CIDR")]
    pub(crate) cluster_cidr: Option<String>,
    /// Addresses of Services; the tenth is the DNS server's [default at the first start: 10.43.0.0/16].
    #[arg(long, value_name = "CIDR")]
    pub(crate) service_cidr: Option<String>,
    #[command(flatten)]
    pub(crate) api_server: ApiServerFlags,
    /// How long certificates are good for that are made or given from now on: for tests of what happens when they end.
    #[arg(long, value_name = "DURATION", default_value = "8760h", value_parser = certificate_lifetime, hide = true)]
    pub(crate) certificate_lifetime: Duration,
    /// What to log: error, warn, info, debug, trace, or directives such as info,mainstay_store=debug.
    #[arg(long, value_name = "FILTER", default_value = LOG_FILTER)]
    pub(crate) log: String,
    /// Write logs as JSON, one object a line.
    #[arg(long)]
    pub(crate) log_json: bool,
}

/// A command on the cluster of one data directory.
#[derive(Debug, Args)]
pub(crate) struct DataDirFlags {
    /// The cluster's data directory.
    #[arg(long, value_name = "DIR", default_value = DATA_DIR)]
    pub(crate) data_dir: PathBuf,
}

/// `mainstay image`.
#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Import images from an OCI or Docker archive (a tar file, plain or gzipped).
    Import {
        /// The archive.
        #[arg(value_name = "ARCHIVE")]
        archive: PathBuf,
        /// Name for an image that the archive does not name, such as example.com/hello:1.
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        #[command(flatten)]
        data_dir: DataDirFlags,
    },
    /// Pull an image from a registry.
    Pull {
        /// The image, such as localhost:5000/hello:1 or registry.k8s.io/pause:3.10.
        #[arg(value_name = "IMAGE")]
        image: String,
        #[command(flatten)]
        data_dir: DataDirFlags,
    },
    /// List the images on this node.
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        data_dir: DataDirFlags,
    },
    /// Remove images by name or id.
    Rm {
        /// Names or ids.
        #[arg(value_name = "IMAGE", required = true)]
        images: Vec<String>,
        #[command(flatten)]
        data_dir: DataDirFlags,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn wrong_flags_exit_with_2() {
        let error = Arguments::try_parse_from(["mainstay", "up", "--bind", "nonsense"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
    }
}
