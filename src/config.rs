//! The settings of one cluster, from flags and from what its data directory remembers.
//!
//! This is the one reader of flags, files and environment; every other part is given values.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::api_server::ApiServerSettings;
use crate::cli::UpFlags;
use crate::refusal::refuse;
use crate::snapshots::SnapshotSettings;

/// Version of `cluster.json`.
pub(crate) const FORMAT_VERSION: u32 = 1;

/// What a data directory remembers of its cluster; written once, at the first start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(clippy::struct_field_names, reason = "cluster CIDR is Kubernetes' word for the addresses of pods")]
pub(crate) struct Cluster {
    /// Version of this file's form.
    pub(crate) format_version: u32,
    /// Eight hexadecimal digits, in the name of everything this cluster makes on the machine.
    pub(crate) id: String,
    /// The node's name.
    pub(crate) node_name: String,
    /// Addresses of pods.
    pub(crate) cluster_cidr: Ipv4Net,
    /// Addresses of Services.
    pub(crate) service_cidr: Ipv4Net,
    /// Addresses of this node's pods, where the cluster gave them; the first server takes the first part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pod_cidr: Option<Ipv4Net>,
}

impl Cluster {
    /// The cluster that `flags` ask for, for an empty data directory.
    pub(crate) fn first(flags: &UpFlags, id: String, host_name: &str) -> anyhow::Result<Self> {
        let node_name = flags.node_name.clone().unwrap_or_else(|| host_name.to_lowercase());
        let cluster = Self {
            format_version: FORMAT_VERSION,
            id,
            node_name,
            cluster_cidr: cidr(
                "--cluster-cidr",
                flags.cluster_cidr.as_deref().unwrap_or("10.42.0.0/16"),
                24,
            )?,
            service_cidr: cidr(
                "--service-cidr",
                flags.service_cidr.as_deref().unwrap_or("10.43.0.0/16"),
                28,
            )?,
            pod_cidr: None,
        };
        cluster.check()?;
        Ok(cluster)
    }

    /// Refuses flags that say something else than the data directory remembers.
    pub(crate) fn agrees(&self, flags: &UpFlags) -> anyhow::Result<()> {
        let pairs = [
            ("--node-name", &flags.node_name, self.node_name.clone()),
            ("--cluster-cidr", &flags.cluster_cidr, self.cluster_cidr.to_string()),
            ("--service-cidr", &flags.service_cidr, self.service_cidr.to_string()),
        ];
        for (flag, given, held) in pairs {
            if let Some(given) = given.as_ref().filter(|given| **given != held) {
                let dir = flags.data_dir.display();
                return Err(refuse(format!(
                    "{flag} is {given}, but the cluster in {dir} was made with {held}: leave the flag out, or choose another --data-dir"
                )));
            }
        }
        Ok(())
    }

    fn check(&self) -> anyhow::Result<()> {
        if !is_dns_name(&self.node_name) {
            return Err(refuse(format!(
                "--node-name {:?} is not a DNS name: use lower case letters, digits, '-' and '.', as in node-1",
                self.node_name
            )));
        }
        if self.cluster_cidr.contains(&self.service_cidr) || self.service_cidr.contains(&self.cluster_cidr) {
            return Err(refuse(format!(
                "--cluster-cidr {} and --service-cidr {} overlap: choose two that do not",
                self.cluster_cidr, self.service_cidr
            )));
        }
        Ok(())
    }

    /// Addresses of this node's pods: on the first server the first /24, so that more nodes can take the next ones.
    pub(crate) fn pod_cidr(&self) -> Ipv4Net {
        let first = || Ipv4Net::new(self.cluster_cidr.network(), self.cluster_cidr.prefix_len().max(24));
        self.pod_cidr.unwrap_or_else(|| first().unwrap_or(self.cluster_cidr))
    }

    /// Pods' gateway: the bridge's own address, the first of the node's range.
    pub(crate) fn gateway(&self) -> Ipv4Addr {
        nth(self.pod_cidr(), 1)
    }

    /// The `kubernetes` Service's address, the first of the Service range.
    pub(crate) fn api_service_ip(&self) -> Ipv4Addr {
        nth(self.service_cidr, 1)
    }

    /// The DNS Service's address, the tenth of the Service range.
    pub(crate) fn dns_service_ip(&self) -> Ipv4Addr {
        nth(self.service_cidr, 10)
    }
}

/// One start of a cluster.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// What the data directory remembers.
    pub(crate) cluster: Cluster,
    /// The data directory.
    pub(crate) data_dir: PathBuf,
    /// Where the administrator's kubeconfig goes.
    pub(crate) kubeconfig: PathBuf,
    /// Where the API server listens.
    pub(crate) bind: SocketAddr,
    /// The address that pods and the node use for the API server, and the node's own.
    pub(crate) node_ip: IpAddr,
    /// What the API server is told beyond that.
    pub(crate) api_server: ApiServerSettings,
    /// This server's place among others; none for a cluster that stays one node.
    pub(crate) member: Option<MemberSettings>,
    /// How long the certificates are good for that are made here, and that nodes are given.
    pub(crate) certificate_lifetime: Duration,
}

/// What `mainstay server` adds to `mainstay up`.
#[derive(Debug, Clone)]
pub(crate) struct MemberSettings {
    /// Where the store listens for the other servers.
    pub(crate) peer_bind: SocketAddr,
    /// Whether this machine runs pods.
    pub(crate) runs_agent: bool,
    /// When snapshots are taken; none if never.
    pub(crate) snapshots: Option<SnapshotSettings>,
    /// Whether its API server answers reads without a quorum.
    pub(crate) stale_reads: bool,
    /// How long a node may be silent before it counts as unreachable.
    pub(crate) node_grace: Duration,
}

impl Config {
    /// Where programs on this machine reach the API server.
    pub(crate) fn api_url(&self) -> String {
        format!("https://{}", self.api_address(IpAddr::V4(Ipv4Addr::LOCALHOST)))
    }

    /// This machine's own API server as the cluster lists it.
    pub(crate) fn own_server(&self) -> SocketAddr {
        self.api_address(self.node_ip)
    }

    /// Where the API server listens; `any` is the address to use if it does so on all of them.
    fn api_address(&self, any: IpAddr) -> SocketAddr {
        let ip = if self.bind.ip().is_unspecified() { any } else { self.bind.ip() };
        SocketAddr::new(ip, self.bind.port())
    }
}

/// The name of the nft table of a cluster's Services.
pub(crate) fn service_table(cluster_id: &str) -> String {
    format!("mainstay-{cluster_id}-services")
}

/// Sockets, pinned namespaces and other things that do not outlive a boot; short, for socket paths.
pub(crate) fn run_dir(cluster_id: &str) -> PathBuf {
    Path::new("/run/mainstay").join(cluster_id)
}

fn nth(net: Ipv4Net, n: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(net.network()).saturating_add(n))
}

fn cidr(flag: &str, text: &str, prefix_max: u8) -> anyhow::Result<Ipv4Net> {
    let net: Ipv4Net = text.parse().map_err(|_parse| {
        refuse(format!("{flag} {text:?} is not an IPv4 range: give one such as 10.42.0.0/16"))
    })?;
    if net.trunc() != net {
        return Err(refuse(format!("{flag} {text} has host bits set: did you mean {}?", net.trunc())));
    }
    if net.prefix_len() > prefix_max || net.prefix_len() < 8 {
        return Err(refuse(format!("{flag} {text} must be between /8 and /{prefix_max}")));
    }
    Ok(net)
}

/// How long certificates are good for, unless a test says something else.
pub(crate) const CERTIFICATE_LIFETIME: Duration = Duration::from_secs(365 * 86_400);
/// Certificates that end sooner would be renewed all the time.
const CERTIFICATE_LIFETIME_MIN: Duration = Duration::from_secs(20);

/// Parses how long certificates are good for.
///
/// # Errors
/// A sentence that says what is wrong.
pub(crate) fn certificate_lifetime(text: &str) -> Result<Duration, String> {
    match crate::store_command::parse_duration(text)? {
        lifetime if lifetime >= CERTIFICATE_LIFETIME_MIN => Ok(lifetime),
        _ => Err(format!("{text:?} is too short: give {} s or more", CERTIFICATE_LIFETIME_MIN.as_secs())),
    }
}

/// A variable of the environment that is text and not empty.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var_os(name)?.into_string().ok().filter(|value| !value.is_empty())
}

/// A new [`Cluster::id`].
pub(crate) fn new_id() -> String {
    format!("{:08x}", rand::random::<u32>())
}

/// Whether a text can name a node.
pub(crate) fn is_dns_name(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Arguments, Command};
    use clap::Parser;

    fn flags(extra: &[&str]) -> UpFlags {
        let words = ["mainstay", "up"].iter().chain(extra);
        match Arguments::try_parse_from(words).unwrap().command {
            Command::Up(flags) => *flags,
            other => panic!("{other:?}"),
        }
    }

    fn first(extra: &[&str]) -> anyhow::Result<Cluster> {
        Cluster::first(&flags(extra), "0123abcd".to_owned(), "Host")
    }

    #[test]
    fn defaults_give_the_usual_ranges_and_addresses() {
        let cluster = first(&[]).unwrap();
        assert_eq!(cluster.node_name, "host");
        assert_eq!(cluster.gateway().to_string(), "10.42.0.1");
        assert_eq!(cluster.api_service_ip().to_string(), "10.43.0.1");
        assert_eq!(cluster.dns_service_ip().to_string(), "10.43.0.10");
    }

    #[test]
    fn wrong_values_are_refused_with_advice() {
        let refused = |extra: &[&str]| first(extra).unwrap_err().to_string();
        assert!(refused(&["--cluster-cidr", "10.42.0.1/16"]).contains("did you mean 10.42.0.0/16"));
        assert!(refused(&["--service-cidr", "10.42.8.0/24"]).contains("overlap"));
        assert!(refused(&["--node-name", "Bad_Name"]).contains("not a DNS name"));
        assert!(refused(&["--cluster-cidr", "x"]).contains("IPv4 range"));
    }

    #[test]
    fn a_second_start_may_repeat_but_not_change() {
        let cluster = first(&[]).unwrap();
        cluster.agrees(&flags(&["--cluster-cidr", "10.42.0.0/16"])).unwrap();
        let error = cluster.agrees(&flags(&["--node-name", "other"])).unwrap_err();
        assert!(error.to_string().contains("was made with host"), "{error}");
    }
}
