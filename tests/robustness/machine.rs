//! The three members, their certificates, their disks, and all that can be done to them.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use mainstay_base::pki::{Ca, LeafRequest, SubjectName, Usage};
use mainstay_proto_wire::etcd::etcdserverpb as pb;
use pb::cluster_client::ClusterClient;
use pb::kv_client::KvClient;
use pb::maintenance_client::MaintenanceClient;

use crate::SOON;
use crate::judge::History;
use crate::member::{Disk, Member, Tls, signal};
use crate::network::{CLIENTS, Cut, Network, address};

/// The members that a new cluster begins with.
pub(crate) const MEMBERS: usize = 3;
/// What a request may take, from a client's side.
const CALL_MAX: Duration = Duration::from_secs(10);

/// Where clients reach the members.
pub(crate) fn urls() -> Vec<String> {
    (0..MEMBERS).map(|member| format!("https://{}:2379", address(member))).collect()
}

/// All of it; processes, mounts and namespaces end when it is dropped.
pub(crate) struct Machine {
    // In this order: processes first, then what they use.
    members: Vec<Member>,
    network: Network,
    pub(crate) tls: Tls,
    dir: tempfile::TempDir,
}

fn write(path: &Path, text: &str) -> PathBuf {
    std::fs::write(path, text).unwrap();
    path.to_path_buf()
}

/// One certificate for every member and client.
fn certificates(dir: &Path) -> Tls {
    let now = SystemTime::now().into();
    let day = Duration::from_secs(86_400);
    let ca = Ca::generate("robustness", now, day).unwrap();
    let names = (0..MEMBERS).map(|member| SubjectName::Ip(address(member).parse().unwrap()));
    let leaf = LeafRequest {
        common_name: "member".into(),
        organization: None,
        names: names.collect(),
        usage: Usage::ClientAndServer,
        validity: day,
    };
    let leaf = ca.issue(&leaf, now).unwrap();
    Tls {
        ca: write(&dir.join("ca.pem"), ca.certificate_pem()),
        cert: write(&dir.join("member.pem"), &leaf.certificate_pem),
        key: write(&dir.join("member.key"), &leaf.key_pem),
    }
}

impl Machine {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tls = certificates(dir.path());
        let network = Network::new();
        let members = (0..MEMBERS).map(|member| Member {
            disk: Disk::new(dir.path().join(format!("m{member}"))),
            state: "new",
            generation: 0,
            process: None,
        });
        Self { members: members.collect(), network, tls, dir }
    }

    pub(crate) fn enter_client_namespace(&self) {
        self.network.enter(CLIENTS);
    }

    pub(crate) fn start(&mut self, member: usize) {
        let peer = |member: usize| format!("https://{}:2380", address(member));
        let initial: Vec<String> =
            (0..MEMBERS).map(|other| format!("{}={}", self.name(other), peer(other))).collect();
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join(format!("m{member}.log")))
            .unwrap();
        let Tls { ca, cert, key } = &self.tls;
        let (ca, cert, key) = (ca.display(), cert.display(), key.display());
        let flags = [
            format!("--name={}", self.name(member)),
            format!("--data-dir={}", self.members[member].data().display()),
            format!("--listen-client-urls=https://{}:2379", address(member)),
            format!("--advertise-client-urls=https://{}:2379", address(member)),
            format!("--listen-peer-urls={}", peer(member)),
            format!("--initial-advertise-peer-urls={}", peer(member)),
            format!("--initial-cluster={}", initial.join(",")),
            format!("--initial-cluster-state={}", self.members[member].state),
            format!("--cert-file={cert}"),
            format!("--key-file={key}"),
            format!("--trusted-ca-file={ca}"),
            "--client-cert-auth".to_owned(),
            format!("--peer-cert-file={cert}"),
            format!("--peer-key-file={key}"),
            format!("--peer-trusted-ca-file={ca}"),
            "--log-level=info".to_owned(),
        ];
        let mut command = self.network.command(member, env!("CARGO_BIN_EXE_mainstay"));
        command.arg("store").args(flags).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.members[member].process = Some(command.spawn().unwrap());
    }

    /// One that replaces another has another name.
    fn name(&self, member: usize) -> String {
        format!("m{member}-{}", self.members[member].generation)
    }

    pub(crate) fn kill(&mut self, member: usize) {
        self.members[member].kill();
    }

    /// Ends a member in good order, while clients go on.
    pub(crate) async fn terminate(&mut self, member: usize) {
        signal(&self.members[member], rustix::process::Signal::TERM);
        let mut process = self.members[member].process.take().unwrap();
        let asked = Instant::now();
        let ended = loop {
            if let Some(ended) = process.try_wait().unwrap() {
                break ended;
            }
            assert!(asked.elapsed() < SOON, "it does not end; it said:\n{}", self.said(member));
            tokio::time::sleep(Duration::from_millis(2)).await;
        };
        assert!(ended.success(), "{ended}; it said:\n{}", self.said(member));
    }

    pub(crate) fn freeze(&self, member: usize) {
        signal(&self.members[member], rustix::process::Signal::STOP);
    }

    pub(crate) fn thaw(&self, member: usize) {
        signal(&self.members[member], rustix::process::Signal::CONT);
    }

    pub(crate) fn cut(&self, member: usize, cut: Cut) {
        self.network.cut(member, cut);
    }

    pub(crate) fn heal(&self, member: usize) {
        self.network.heal(member);
    }

    pub(crate) fn fill_disk(&self, member: usize) {
        self.members[member].disk.fill();
    }

    pub(crate) fn free_disk(&self, member: usize) {
        self.members[member].disk.free();
    }

    /// Waits until a member answers a linearizable read.
    pub(crate) async fn healthy(&self, member: usize) {
        self.reads(member, false).await;
    }

    /// Waits until a member answers a read of its own state.
    pub(crate) async fn healthy_to_read(&self, member: usize) {
        self.reads(member, true).await;
    }

    async fn reads(&self, member: usize, serializable: bool) {
        let url = &urls()[member];
        let started = Instant::now();
        loop {
            let ask = async {
                let channel = self.tls.connect(url, Duration::from_secs(2)).await.ok()?;
                let request = pb::RangeRequest { key: "k".into(), serializable, ..Default::default() };
                KvClient::new(channel).range(request).await.ok()
            };
            if ask.await.is_some() {
                return;
            }
            assert!(started.elapsed() < SOON, "member {member} is not well; it said:\n{}", self.said(member));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The end of a member's log.
    fn said(&self, member: usize) -> String {
        let log = std::fs::read_to_string(self.dir.path().join(format!("m{member}.log"))).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(15).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// The member that leads by the word of all.
    pub(crate) async fn leader(&self) -> usize {
        self.reign().await.0
    }

    /// The member that leads by the word of all, and the newest term: the same pair later says that nobody was elected since.
    pub(crate) async fn reign(&self) -> (usize, u64) {
        let started = Instant::now();
        loop {
            let mut ids = Vec::new();
            let mut named = Vec::new();
            let mut term = 0;
            for url in urls() {
                let Ok(channel) = self.tls.connect(&url, Duration::from_secs(2)).await else { continue };
                let Ok(status) = MaintenanceClient::new(channel).status(pb::StatusRequest {}).await else {
                    continue;
                };
                let status = status.into_inner();
                ids.push(status.header.unwrap().member_id);
                named.push(status.leader);
                term = term.max(status.raft_term);
            }
            if ids.len() == MEMBERS
                && named.iter().all(|leader| *leader == named[0])
                && let Some(leader) = ids.iter().position(|id| *id == named[0])
            {
                return (leader, term);
            }
            assert!(started.elapsed() < SOON, "no leader");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn follower(&self) -> usize {
        (self.leader().await + 1) % MEMBERS
    }

    /// A member loses its disk for good: it is removed, and a new one takes its place.
    pub(crate) async fn replace(&mut self, member: usize) {
        let others = urls();
        let other = &others[(member + 1) % MEMBERS];
        self.kill(member);
        let channel = self.tls.connect(other, CALL_MAX).await.unwrap();
        let mut cluster = ClusterClient::new(channel);
        let list = pb::MemberListRequest { linearizable: true };
        let members = cluster.member_list(list).await.unwrap().into_inner().members;
        let gone = members.iter().find(|found| found.name == self.name(member)).unwrap().id;
        cluster.member_remove(pb::MemberRemoveRequest { id: gone }).await.unwrap();
        let url = format!("https://{}:2380", address(member));
        let add = pb::MemberAddRequest { peer_ur_ls: vec![url], is_learner: false };
        cluster.member_add(add).await.unwrap();
        let path = self.dir.path().join(format!("m{member}-again"));
        self.members[member].disk = Disk::new(path);
        self.members[member].generation += 1;
        self.members[member].state = "existing";
        self.start(member);
        self.healthy(member).await;
    }

    /// All that ever happened, by a watch from the beginning.
    pub(crate) async fn history(&self) -> History {
        let channel = self.tls.connect(&urls()[0], SOON).await.unwrap();
        History::read(channel).await
    }

    /// Every member has the same hash at a revision.
    pub(crate) async fn hashes_are_equal(&self, revision: i64) {
        let mut hashes = Vec::new();
        for (member, url) in urls().iter().enumerate() {
            self.healthy(member).await;
            let channel = self.tls.connect(url, SOON).await.unwrap();
            let hash = MaintenanceClient::new(channel).hash_kv(pb::HashKvRequest { revision }).await.unwrap();
            let hash = hash.into_inner();
            hashes.push((hash.hash, hash.compact_revision, hash.hash_revision));
        }
        assert!(hashes.iter().all(|hash| *hash == hashes[0]), "the members' hashes differ: {hashes:?}");
        println!("hash {:x} at revision {revision} on every member", hashes[0].0);
    }
}
