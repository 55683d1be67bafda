//! Network namespaces on one switch, and cuts between them. All of it is this test's own: nothing of the machine's network is touched.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::process::Command;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// What a member's packets to the other members are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// In both directions.
    Both,
    /// Those that it sends.
    Outgoing,
}

/// The switch and what hangs on it; removed when dropped.
pub(crate) struct Network {
    prefix: String,
    names: Vec<String>,
}

/// Runs a command that must succeed.
pub(crate) fn run(line: &str) {
    let mut words = line.split(' ');
    let output = Command::new(words.next().unwrap()).args(words).output();
    let output = output.unwrap_or_else(|error| panic!("{line}: {error}"));
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The addresses that clients and members have, in a range kept for documentation.
pub(crate) fn address(host: usize) -> String {
    format!("192.0.2.{}", host + 1)
}

/// The host that clients are on.
pub(crate) const CLIENTS: usize = 100;

impl Network {
    pub(crate) fn new() -> Self {
        remove_left_over();
        let prefix = format!("mainstay-robust-{}", std::process::id());
        let mut network = Self { prefix, names: Vec::new() };
        let switch = network.add("switch");
        run(&format!("ip -n {switch} link add br0 type bridge"));
        run(&format!("ip -n {switch} link set br0 up"));
        for host in [0, 1, 2, CLIENTS] {
            let name = network.add(&host.to_string());
            run(&format!("ip -n {switch} link add v{host} type veth peer name eth0 netns {name}"));
            run(&format!("ip -n {switch} link set v{host} master br0 up"));
            run(&format!("ip -n {name} address add {}/24 dev eth0", address(host)));
            run(&format!("ip -n {name} link set eth0 up"));
            run(&format!("ip -n {name} link set lo up"));
        }
        network
    }

    fn add(&mut self, host: &str) -> String {
        let name = format!("{}-{host}", self.prefix);
        run(&format!("ip netns add {name}"));
        self.names.push(name.clone());
        name
    }

    /// A command in the namespace of a host; its process is the command's own.
    pub(crate) fn command(&self, host: usize, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name(host), program]);
        command
    }

    fn name(&self, host: usize) -> String {
        format!("{}-{host}", self.prefix)
    }

    /// Moves the calling thread to where the clients are.
    pub(crate) fn enter(&self, host: usize) {
        let namespace = File::open(format!("/run/netns/{}", self.name(host))).unwrap();
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    }

    /// Loses packets between a member and the others. Its clients still reach it.
    pub(crate) fn cut(&self, host: usize, cut: Cut) {
        let others: Vec<String> = (0..3).filter(|other| *other != host).map(address).collect();
        let others = others.join(", ");
        let mut rules = format!(
            "add table ip cut\nadd chain ip cut out {{ type filter hook output priority 0; }}\n\
             add rule ip cut out ip daddr {{ {others} }} drop\n"
        );
        if cut == Cut::Both {
            rules.extend([format!(
                "add chain ip cut in {{ type filter hook input priority 0; }}\n\
                 add rule ip cut in ip saddr {{ {others} }} drop\n"
            )]);
        }
        self.nft(host, &rules);
    }

    pub(crate) fn heal(&self, host: usize) {
        self.nft(host, "delete table ip cut\n");
    }

    fn nft(&self, host: usize, rules: &str) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), rules).unwrap();
        run(&format!("ip netns exec {} nft -f {}", self.name(host), file.path().display()));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in &self.names {
            // As much as there is: a failure here must not hide the test's.
            drop(Command::new("ip").args(["netns", "delete", name]).output());
        }
    }
}

/// Removes the namespaces of earlier runs that were killed.
fn remove_left_over() {
    for entry in std::fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(rest) = name.strip_prefix("mainstay-robust-") else { continue };
        let owner = rest.split('-').next().unwrap_or_default();
        if !std::path::Path::new("/proc").join(owner).exists() {
            run(&format!("ip netns delete {name}"));
        }
    }
}
