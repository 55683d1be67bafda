//! Real processes that form a cluster: ours or etcd's, started with the same flags.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::{BINARY, text};

/// The longest wait for anything that should happen.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// Whose server it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ours,
    Etcd,
}

/// Which etcdctl.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V3_4,
    V3_5,
}

impl Version {
    fn path(self) -> PathBuf {
        match self {
            Self::V3_4 => PathBuf::from("etcdctl"),
            Self::V3_5 => etcd().with_file_name("etcdctl"),
        }
    }

    /// A command that ends by itself: it is ended if it does not.
    pub(crate) fn command(self) -> Command {
        let mut command = Command::new("timeout");
        command.arg("90").arg(self.path()).env("ETCDCTL_API", "3");
        command
    }

    /// One that is to be killed.
    pub(crate) fn endless(self) -> Command {
        let mut command = Command::new(self.path());
        command.env("ETCDCTL_API", "3");
        command
    }
}

/// A running cluster; its processes are killed when it is dropped.
pub(crate) struct Cluster {
    pub(crate) members: Vec<Child>,
    flags: Vec<Vec<String>>,
    pub(crate) urls: Vec<String>,
    pub(crate) peers: Vec<String>,
    pub(crate) dir: tempfile::TempDir,
}

/// The etcd to compare with; fetched if it is not there.
pub(crate) fn etcd() -> &'static Path {
    static ETCD: OnceLock<PathBuf> = OnceLock::new();
    ETCD.get_or_init(|| {
        #[allow(clippy::disallowed_methods, reason = "set by scripts/test")]
        if let Ok(path) = std::env::var("MAINSTAY_TEST_ETCD") {
            return path.into();
        }
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/etcd-peer");
        let output = Command::new(script).output().unwrap();
        assert!(output.status.success(), "this test needs an etcd: {}", text(&output));
        String::from_utf8(output.stdout).unwrap().trim().into()
    })
}

/// Ports that were free a moment ago.
pub(crate) fn free_ports(count: usize) -> Vec<u16> {
    let bound: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    bound.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

/// Waits until a condition holds.
#[allow(clippy::disallowed_methods, reason = "other processes give no event to wait for")]
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < SOON, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Cluster {
    /// So many members, ready.
    pub(crate) fn start(kind: Kind, count: usize) -> Self {
        Self::form(kind, count, |_flags, _dir| {})
    }

    /// Members of ours with more flags, which `more` gives by number.
    pub(crate) fn start_with(count: usize, more: impl Fn(usize) -> Vec<String>) -> Self {
        let mut number = 0;
        Self::form(Kind::Ours, count, |flags, _dir| {
            flags.extend(more(number));
            number += 1;
        })
    }

    /// Members of ours whose data directories are made of a snapshot first. Who they are is not told them again.
    pub(crate) fn restored(snapshot: &Path, count: usize, options: &[&str]) -> Self {
        Self::form(Kind::Ours, count, |flags, dir| {
            let place = flags.iter().filter(|flag| {
                ["--name", "--initial-", "--data-dir"].iter().any(|start| flag.starts_with(start))
            });
            let output = Command::new(BINARY)
                .args(["snapshot", "restore"])
                .arg(snapshot)
                .args(place)
                .args(options)
                .output()
                .unwrap();
            assert!(output.status.success(), "restoring to {}: {}", dir.display(), text(&output));
            flags.retain(|flag| !flag.starts_with("--initial-cluster"));
        })
    }

    /// `prepare` gets each member's flags and data directory before it is started.
    fn form(kind: Kind, count: usize, mut prepare: impl FnMut(&mut Vec<String>, &Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ports = free_ports(2 * count);
        let (clients, peers) = ports.split_at(count);
        let urls: Vec<String> = clients.iter().map(|port| format!("http://127.0.0.1:{port}")).collect();
        let peers: Vec<String> = peers.iter().map(|port| format!("http://127.0.0.1:{port}")).collect();
        let initial: Vec<String> =
            peers.iter().enumerate().map(|(member, url)| format!("m{member}={url}")).collect();
        let mut all_flags = Vec::new();
        let members = (0..count).map(|member| {
            let data = dir.path().join(format!("m{member}"));
            let mut flags = vec![
                format!("--name=m{member}"),
                format!("--data-dir={}", data.display()),
                format!("--listen-client-urls={}", urls[member]),
                format!("--advertise-client-urls={}", urls[member]),
                format!("--listen-peer-urls={}", peers[member]),
                format!("--initial-advertise-peer-urls={}", peers[member]),
                format!("--initial-cluster={}", initial.join(",")),
                "--initial-cluster-token=test".to_owned(),
                "--log-level=warn".to_owned(),
            ];
            prepare(&mut flags, &data);
            let child = spawn(kind, &flags, &dir.path().join(format!("m{member}.log")));
            all_flags.push(flags);
            child
        });
        let members = members.collect();
        let cluster = Self { members, flags: all_flags, urls: urls.clone(), peers, dir };
        for url in &urls {
            until(&format!("{url} is healthy"), || is_healthy(url));
        }
        cluster
    }

    /// One member over a data directory that is there.
    pub(crate) fn open(kind: Kind, data: &Path, name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ports = free_ports(2);
        let url = format!("http://127.0.0.1:{}", ports[0]);
        let mut flags = vec![
            format!("--name={name}"),
            format!("--data-dir={}", data.display()),
            format!("--listen-client-urls={url}"),
            format!("--advertise-client-urls={url}"),
            "--log-level=warn".to_owned(),
        ];
        if kind == Kind::Etcd {
            flags.push(format!("--listen-peer-urls=http://127.0.0.1:{}", ports[1]));
        }
        let member = spawn(kind, &flags, &dir.path().join("m.log"));
        let cluster = Self {
            members: vec![member],
            flags: vec![flags],
            urls: vec![url.clone()],
            peers: Vec::new(),
            dir,
        };
        until(&format!("{url} is healthy"), || is_healthy(&url));
        cluster
    }

    /// What became of the members, for a test that fails.
    fn explain(&mut self) {
        for (number, member) in self.members.iter_mut().enumerate() {
            eprintln!("member {number} at {}: {:?}", self.urls[number], member.try_wait());
        }
        for entry in std::fs::read_dir(self.dir.path()).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "log") {
                let log = std::fs::read_to_string(&path).unwrap_or_default();
                let lines: Vec<&str> = log.lines().rev().take(10).collect();
                eprintln!("{}:\n{}", path.display(), lines.into_iter().rev().collect::<Vec<_>>().join("\n"));
            }
        }
    }

    /// What etcdctl says to a command.
    pub(crate) fn etcdctl(&self, arguments: &[&str]) -> String {
        etcdctl(&self.endpoints(), arguments)
    }

    /// What etcdctl says to a command that one member is asked.
    pub(crate) fn etcdctl_of(&self, number: usize, arguments: &[&str]) -> String {
        etcdctl(&self.urls[number], arguments)
    }

    /// Starts all members again, over the data that they left.
    pub(crate) fn revive(&mut self, kind: Kind) {
        for (number, flags) in self.flags.iter().enumerate() {
            self.members[number] = spawn(kind, flags, &self.dir.path().join(format!("m{number}-again.log")));
        }
        for url in &self.urls {
            until(&format!("{url} is healthy again"), || is_healthy(url));
        }
    }

    /// Kills one member.
    pub(crate) fn kill_one(&mut self, number: usize) {
        self.members[number].kill().unwrap();
        self.members[number].wait().unwrap();
    }

    pub(crate) fn endpoints(&self) -> String {
        self.urls.join(",")
    }
}

fn etcdctl(endpoints: &str, arguments: &[&str]) -> String {
    let mut command = Version::V3_5.command();
    text(&command.arg(format!("--endpoints={endpoints}")).args(arguments).output().unwrap())
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.explain();
        }
        self.kill();
    }
}

impl Cluster {
    /// Ends the members; what they wrote stays.
    pub(crate) fn kill(&mut self) {
        for member in &mut self.members {
            // One that has ended by itself needs no killing.
            drop(member.kill());
            drop(member.wait());
        }
    }
}

fn spawn(kind: Kind, flags: &[String], log: &Path) -> Child {
    let mut command = match kind {
        Kind::Ours => {
            let mut command = Command::new(BINARY);
            command.arg("store");
            command
        }
        Kind::Etcd => Command::new(etcd()),
    };
    let log = File::create(log).unwrap();
    command.args(flags).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
}

fn is_healthy(url: &str) -> bool {
    get(url, "/health").is_some_and(|page| page.contains(r#""health":"true""#))
}

/// A page, if anybody answers.
pub(crate) fn get(url: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(url.strip_prefix("http://")?).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}
