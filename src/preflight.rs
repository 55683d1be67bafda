//! What this machine must offer, checked before anything is changed.

use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::Path;

use crate::config::Config;
use crate::refusal::refuse;

/// Refuses to start where something is missing, with what to do about it.
pub(crate) fn check(config: &Config) -> anyhow::Result<()> {
    let machine = Machine::observe();
    if let Some(problem) = machine.problem() {
        return Err(refuse(problem));
    }
    port_is_free(config)
}

fn port_is_free(config: &Config) -> anyhow::Result<()> {
    match TcpListener::bind(config.bind) {
        Ok(_free) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AddrInUse => Err(refuse(format!(
            "{} is in use by another program: stop it, or choose another --bind",
            config.bind
        ))),
        Err(error) => Err(refuse(format!("--bind {} cannot be used: {error}", config.bind))),
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

    fn problem(&self) -> Option<String> {
        if !self.root {
            return Some("containers need root: run it as root, for example with sudo".to_owned());
        }
        if !self.filesystems.split_whitespace().any(|word| word == "overlay") {
            return Some("the kernel has no overlay filesystem: load it with `modprobe overlay`".to_owned());
        }
        let has = |name: &str| {
            self.controllers.lines().any(|line| {
                let mut words = line.split_whitespace();
                words.next() == Some(name) && words.last() == Some("1")
            })
        };
        if let Some(name) = ["cpu", "memory", "pids"].into_iter().find(|name| !has(name)) {
            return Some(format!(
                "the kernel's cgroup controller {name:?} is off: enable it on the kernel command line"
            ));
        }
        if let Some(kind) = NAMESPACES.into_iter().find(|kind| !self.namespaces.contains(kind)) {
            return Some(format!("the kernel has no {kind} namespaces: use one built with them"));
        }
        if !self.nft {
            return Some("the program nft is missing: install it with `apt-get install nftables`".to_owned());
        }
        None
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
    fn a_complete_machine_has_no_problem() {
        assert_eq!(complete().problem(), None);
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
        for (machine, advice) in lacks {
            let problem = machine.problem().unwrap();
            assert!(problem.contains(advice), "{problem}");
        }
    }
}
