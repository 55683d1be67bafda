//! The servers: an etcd and ours, started with the same flags.
use std::fs;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mainstay_proto_wire::etcd::etcdserverpb::kv_client::KvClient;
use mainstay_proto_wire::etcd::etcdserverpb::maintenance_client::MaintenanceClient;
use mainstay_proto_wire::etcd::etcdserverpb::{RangeRequest, StatusRequest};

use super::connect::connect;
use super::load::Load;
use super::process;

const START: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_millis(2);

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Product {
    Etcd,
    Mainstay,
}

impl Product {
    fn command(self) -> Command {
        match self {
            Self::Etcd => {
                let found = Command::new("scripts/etcd-peer").stderr(Stdio::inherit()).output().unwrap();
                assert!(found.status.success(), "scripts/etcd-peer found no etcd");
                Command::new(String::from_utf8(found.stdout).unwrap().trim())
            }
            Self::Mainstay => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
                command.arg("store");
                command
            }
        }
    }
}

struct Member {
    child: Child,
    endpoint: String,
    arguments: Vec<String>,
    log: std::path::PathBuf,
}

/// One server or several that form a cluster; they end with it.
pub(crate) struct Cluster {
    pub(crate) product: Product,
    members: Vec<Member>,
    _dir: tempfile::TempDir,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Cluster {
    /// Starts so many members and waits until they answer.
    pub(crate) async fn start(product: Product, members: usize) -> Self {
        // Beside the build, not in a tmpfs: the disk is part of what is measured.
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let ports: Vec<(u16, u16)> = (0..members).map(|_| (free_port(), free_port())).collect();
        let all: Vec<String> =
            ports.iter().enumerate().map(|(i, (_, peer))| format!("m{i}=http://127.0.0.1:{peer}")).collect();
        let started = ports.iter().enumerate().map(|(i, (client, peer))| {
            let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
            let arguments = [
                ("--name", format!("m{i}")),
                ("--data-dir", dir.path().join(format!("m{i}")).display().to_string()),
                ("--listen-client-urls", client.clone()),
                ("--advertise-client-urls", client.clone()),
                ("--listen-peer-urls", peer.clone()),
                ("--initial-advertise-peer-urls", peer),
                ("--initial-cluster", all.join(",")),
                ("--quota-backend-bytes", (8_u64 << 30).to_string()),
                ("--max-txn-ops", "1000".into()),
            ];
            let arguments = arguments.into_iter().flat_map(|(flag, value)| [flag.into(), value]).collect();
            let log = dir.path().join(format!("m{i}.log"));
            let child = spawn(product, &arguments, &log);
            Member { child, endpoint: client, arguments, log }
        });
        let members = started.collect();
        let cluster = Self { product, members, _dir: dir };
        cluster.leader().await;
        cluster
    }

    /// A connection to the leader, once there is one.
    async fn leader(&self) -> &Member {
        let began = Instant::now();
        while began.elapsed() < START {
            for member in &self.members {
                let Ok(channel) = connect(&member.endpoint).await else { continue };
                let Ok(status) = MaintenanceClient::new(channel).status(StatusRequest {}).await else {
                    continue;
                };
                let status = status.into_inner();
                if status.leader != 0 && status.header.is_some_and(|header| header.member_id == status.leader)
                {
                    return member;
                }
            }
            tokio::time::sleep(RETRY).await;
        }
        for member in &self.members {
            println!("{}", fs::read_to_string(&member.log).unwrap_or_default());
        }
        panic!("{:?} did not start", self.product);
    }

    /// A generator of load on the leader.
    pub(crate) async fn load(&self) -> Load {
        Load::new(self.leader().await.endpoint.clone())
    }

    /// The CPU time of all members so far.
    pub(crate) fn cpu(&self) -> Duration {
        self.members.iter().map(|member| process::cpu(member.child.id())).sum()
    }

    /// The resident memory of the first member, in MiB.
    pub(crate) fn rss_mib(&self) -> u64 {
        process::rss_mib(self.members[0].child.id())
    }

    /// Ends the only member with SIGTERM and starts it again; the time from then until a key is read.
    pub(crate) async fn restart(&mut self, key: &str) -> Duration {
        let member = &mut self.members[0];
        Command::new("kill").arg(member.child.id().to_string()).status().unwrap();
        member.child.wait().unwrap();
        let began = Instant::now();
        member.child = spawn(self.product, &member.arguments, &member.log);
        let request = RangeRequest { key: key.as_bytes().to_vec().into(), ..RangeRequest::default() };
        while began.elapsed() < START {
            if let Ok(channel) = connect(&member.endpoint).await
                && let Ok(answer) = KvClient::new(channel).range(request.clone()).await
            {
                assert_eq!(answer.into_inner().count, 1, "the key is there");
                return began.elapsed();
            }
            tokio::time::sleep(RETRY).await;
        }
        panic!("{:?} did not start again", self.product);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in &mut self.members {
            drop(member.child.kill());
            drop(member.child.wait());
        }
    }
}

fn spawn(product: Product, arguments: &Vec<String>, log: &std::path::Path) -> Child {
    let log = fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
    let mut command = product.command();
    if product == Product::Etcd {
        command.args(["--log-level", "error"]);
    }
    command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    command.spawn().unwrap()
}
