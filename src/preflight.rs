//! What this machine must offer, checked before anything is changed.

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use ipnet::Ipv4Net;

use crate::config::{Cluster, Config};
use crate::refusal::refuse;

/// Refuses to start where something is missing, with what to do about it.
pub(crate) fn check(config: &Config) -> anyhow::Result<()> {
    check_machine()?;
    check_ranges(&config.cluster)?;
    port_is_free("--bind", config.bind)?;
    config.member.as_ref().map_or(Ok(()), |member| port_is_free("--peer-bind", member.peer_bind))
}

/// Refuses a machine that cannot run containers.
pub(crate) fn check_machine() -> anyhow::Result<()> {
    machine().into_iter().find_map(|(_, advice)| advice).map_or(Ok(()), |advice| Err(refuse(advice)))
}

/// What containers need of a machine, and what to do where it is not there.
pub(crate) fn machine() -> Vec<(&'static str, Option<String>)> {
    Machine::observe().needs()
}

/// Refuses a cluster whose addresses this machine uses otherwise.
pub(crate) fn check_ranges(cluster: &Cluster) -> anyhow::Result<()> {
    let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
    range_problem(cluster, &routes).map_or(Ok(()), |problem| Err(refuse(problem)))
}

/// Whether this machine already routes a part of the cluster's ranges elsewhere. `routes` is /proc/net/route.
fn range_problem(cluster: &Cluster, routes: &str) -> Option<String> {
    let own = format!("ms-{}", cluster.id);
    for line in routes.lines().skip(1) {
        let words: Vec<_> = line.split_whitespace().collect();
        let (Some(device), Some(network)) = (words.first(), route_network(&words)) else { continue };
        // Routes to other nodes' pods, which this program has set, lead through a gateway.
        let by_gateway = words.get(2).is_some_and(|gateway| *gateway != "00000000");
        for (flag, range) in
            [("--cluster-cidr", cluster.cluster_cidr), ("--service-cidr", cluster.service_cidr)]
        {
            let overlap = range.contains(&network) || network.contains(&range);
            let to_a_node = by_gateway && cluster.cluster_cidr.contains(&network);
            if overlap && network.prefix_len() > 0 && *device != own && !to_a_node {
                return Some(format!(
                    "{flag} {range} overlaps {network}, which this machine routes to {device}: choose another range and --data-dir"
                ));
            }
        }
    }
    None
}

/// Destination and mask of a line of /proc/net/route: hexadecimal, in the machine's byte order.
fn route_network(words: &[&str]) -> Option<Ipv4Net> {
    let number = |index: usize| u32::from_str_radix(words.get(index)?, 16).ok().map(u32::to_be);
    Ipv4Net::with_netmask(number(1)?.into(), number(7)?.into()).ok()
}

/// Refuses a port that something listens on.
pub(crate) fn port_is_free(flag: &str, bind: SocketAddr) -> anyhow::Result<()> {
    match TcpListener::bind(bind) {
        Ok(_free) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            Err(refuse(format!("{bind} is in use by another program: stop it, or choose another {flag}")))
        }
        Err(error) => Err(refuse(format!("{flag} {bind} cannot be used: {error}"))),
    }
}

/// What the checks look at.
struct Machine {
    root: bool,
    filesystems: String,
    controllers: String,
    namespaces: Vec<&'static str>,
    nft: bool,
}

const NAMESPACES: [&str; 5] = ["mnt", "pid", "net", "ipc", "uts"];

impl Machine {
    fn observe() -> Self {
        let exists = |kind: &&str| Path::new("/proc/self/ns").join(kind).exists();
        Self {
            root: rustix::process::geteuid().is_root(),
            filesystems: fs::read_to_string("/proc/filesystems").unwrap_or_default(),
            controllers: fs::read_to_string("/proc/cgroups").unwrap_or_default(),
            namespaces: NAMESPACES.into_iter().filter(exists).collect(),
            nft: ["/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft"].iter().any(|path| Path::new(path).exists()),
        }
    }

    fn needs(&self) -> Vec<(&'static str, Option<String>)> {
        let lacks = |is_there: bool, advice: &str| (!is_there).then(|| advice.to_owned());
        let has = |name: &str| {
            self.controllers.lines().any(|line| {
                let mut words = line.split_whitespace();
                words.next() == Some(name) && words.last() == Some("1")
            })
        };
        let controller = ["cpu", "memory", "pids"].into_iter().find(|name| !has(name));
        let namespace = NAMESPACES.into_iter().find(|kind| !self.namespaces.contains(kind));
        let overlay = self.filesystems.split_whitespace().any(|word| word == "overlay");
        vec![
            ("root", lacks(self.root, "containers need root: run it as root, for example with sudo")),
            (
                "overlay filesystem",
                lacks(overlay, "the kernel has no overlay filesystem: load it with `modprobe overlay`"),
            ),
            (
                "cgroup controllers",
                controller.map(|name| {
                    format!(
                        "the kernel's cgroup controller {name:?} is off: enable it on the kernel command line"
                    )
                }),
            ),
            (
                "namespaces",
                namespace.map(|kind| format!("the kernel has no {kind} namespaces: use one built with them")),
            ),
            (
                "nft",
                lacks(self.nft, "the program nft is missing: install it with `apt-get install nftables`"),
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete() -> Machine {
        Machine {
            root: true,
            filesystems: "nodev\toverlay\n".to_owned(),
            controllers: "cpu\t1\t1\t1\nmemory\t2\t1\t1\npids\t3\t1\t1\n".to_owned(),
            namespaces: NAMESPACES.to_vec(),
            nft: true,
        }
    }

    #[test]
    fn a_range_that_is_routed_elsewhere_is_refused() {
        let cluster = Cluster {
            format_version: 1,
            id: "0123abcd".to_owned(),
            node_name: "n".to_owned(),
            cluster_cidr: "10.42.0.0/16".parse().unwrap(),
            service_cidr: "10.43.0.0/16".parse().unwrap(),
            pod_cidr: None,
        };
        let head = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n";
        let problem = |line: &str| range_problem(&cluster, &format!("{head}{line}\n"));
        let other = problem("ms-other 00002A0A 00000000 0001 0 0 0 00FFFFFF 0 0 0").unwrap();
        assert!(other.contains("10.42.0.0/24, which this machine routes to ms-other"), "{other}");
        assert_eq!(problem("ms-0123abcd 00002A0A 00000000 0001 0 0 0 00FFFFFF 0 0 0"), None);
        assert_eq!(problem("eth0 00012A0A 010200C0 0003 0 0 0 00FFFFFF 0 0 0"), None, "to another node");
        assert_eq!(problem("eth0 00000000 010200C0 0003 0 0 0 00000000 0 0 0"), None);
    }

    fn advice(machine: &Machine) -> Vec<String> {
        machine.needs().into_iter().filter_map(|(_, advice)| advice).collect()
    }

    #[test]
    fn a_complete_machine_lacks_nothing() {
        assert_eq!(advice(&complete()), Vec::<String>::new());
    }

    #[test]
    fn each_lack_is_named_with_what_to_do() {
        let lacks = [
            (Machine { root: false, ..complete() }, "as root"),
            (Machine { filesystems: String::new(), ..complete() }, "modprobe overlay"),
            (Machine { controllers: "cpu 1 1 1\nmemory 2 1 0\n".to_owned(), ..complete() }, "\"memory\""),
            (Machine { namespaces: vec!["mnt", "pid"], ..complete() }, "net namespaces"),
            (Machine { nft: false, ..complete() }, "nftables"),
        ];
        for (machine, expected) in lacks {
            let found = advice(&machine);
            assert!(matches!(found.as_slice(), [one] if one.contains(expected)), "{expected}: {found:?}");
        }
    }
}
