//! The store below a server under test: in this process, behind its gRPC face with TLS, or a real etcd.
//!
//! `MAINSTAY_TEST_STORE=served` or `=etcd` runs every test of this program on one of the others.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mainstay_apiserver_server::{Backing, EtcdClient, EtcdConfig, EtcdTls};
use mainstay_base::pki::{Ca, Usage};
use mainstay_proto_wire::etcd::etcdserverpb as pb;
use mainstay_store::etcd::{Endpoint, FaceConfig, Listener, Server, TlsFiles};
use mainstay_store::{Config, OpenError, RangeRequest, Store};
use pb::kv_client::KvClient;
use pb::lease_client::LeaseClient;
use time::OffsetDateTime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::client::DEADLINE;
use crate::server::leaf;

/// Which store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoreKind {
    Embedded,
    Served,
    Etcd,
}

impl StoreKind {
    /// What the environment says.
    pub(crate) fn chosen() -> Self {
        #[allow(clippy::disallowed_methods, reason = "how a person runs the tests on another store")]
        match std::env::var("MAINSTAY_TEST_STORE").as_deref() {
            Ok("served") => Self::Served,
            Ok("etcd") => Self::Etcd,
            Ok(other) => panic!("MAINSTAY_TEST_STORE={other}: say served or etcd"),
            Err(_unset) => Self::Embedded,
        }
    }
}

/// An open store.
pub(crate) struct TestStore {
    pub(crate) kind: StoreKind,
    dir: PathBuf,
    backing: Backing,
    tls: Option<Tls>,
    runs: Runs,
}

enum Runs {
    Embedded(Store),
    Served { store: Store, stop: CancellationToken, face: JoinHandle<()> },
    Etcd(Child),
    Nothing,
}

struct Tls {
    port: u16,
    plain_port: u16,
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl TestStore {
    pub(crate) async fn open(kind: StoreKind, dir: &Path) -> Self {
        Self::open_below(kind, dir, "/registry").await
    }

    /// One whose keys, where it is remote, begin with `prefix`.
    pub(crate) async fn open_below(kind: StoreKind, dir: &Path, prefix: &str) -> Self {
        let dir = dir.to_owned();
        if kind == StoreKind::Embedded {
            let store = open_embedded(&dir).await;
            let runs = Runs::Embedded(store.clone());
            return Self { kind, dir, backing: store.into(), tls: None, runs };
        }
        Tls::write(&dir);
        let tls = Tls { port: free_port(), plain_port: free_port() };
        let config = EtcdConfig {
            servers: vec![format!("https://127.0.0.1:{}", tls.port)],
            prefix: prefix.to_owned(),
            tls: EtcdTls {
                ca_file: Some(dir.join("store-ca.crt")),
                cert_file: Some(dir.join("client-crt")),
                key_file: Some(dir.join("client-key")),
            },
        };
        let client = EtcdClient::new(&config).unwrap();
        let mut store =
            Self { kind, dir, backing: client.clone().into(), tls: Some(tls), runs: Runs::Nothing };
        store.run().await;
        store
    }

    /// What a server is started on.
    pub(crate) fn backing(&self) -> Backing {
        self.backing.clone()
    }

    /// What is stored under a key.
    pub(crate) async fn get(&self, key: &str) -> mainstay_store::KeyValue {
        let answer = self.backing.range(RangeRequest::key(key.to_owned())).await.unwrap();
        answer.kvs.into_iter().next().unwrap()
    }

    /// The granted seconds of a lease, and how many keys it has.
    pub(crate) async fn lease(&self, id: mainstay_store::LeaseId) -> (u64, usize) {
        if let Runs::Embedded(store) = &self.runs {
            let left = store.lease_time_to_live(id, true).await.unwrap();
            return (left.granted.as_secs(), left.keys.len());
        }
        let request = pb::LeaseTimeToLiveRequest { id: id.0, keys: true };
        let left = LeaseClient::new(self.channel().await).lease_time_to_live(request).await.unwrap();
        let left = left.into_inner();
        (left.granted_ttl.unsigned_abs(), left.keys.len())
    }

    /// Ends a lease.
    pub(crate) async fn revoke(&self, id: mainstay_store::LeaseId) {
        if let Runs::Embedded(store) = &self.runs {
            store.lease_revoke(id).await.unwrap();
            return;
        }
        let request = pb::LeaseRevokeRequest { id: id.0 };
        LeaseClient::new(self.channel().await).lease_revoke(request).await.unwrap();
    }

    /// Writes a key as somebody else who uses the same store.
    pub(crate) async fn put_as_another(&self, key: &str) {
        let request = pb::PutRequest { key: key.to_owned().into(), ..Default::default() };
        KvClient::new(self.channel().await).put(request).await.unwrap();
    }

    /// Ends it as a killed process or a lost machine would; clients lose their connections.
    pub(crate) async fn kill(&mut self) {
        match std::mem::replace(&mut self.runs, Runs::Nothing) {
            Runs::Served { store, stop, face } => {
                stop.cancel();
                tokio::time::timeout(DEADLINE, face).await.unwrap().unwrap();
                store.close().await.unwrap();
            }
            Runs::Etcd(mut child) => {
                // Alone and before 3.5.5, etcd answers before its log has the write (etcd issue 14370): the revision would be given again.
                tokio::time::sleep(Duration::from_millis(100)).await;
                child.kill().unwrap();
                child.wait().unwrap();
            }
            Runs::Embedded(_) | Runs::Nothing => panic!("nothing that could be killed alone"),
        }
    }

    /// Another authority, and certificates of it, in the files: the next start is with those.
    pub(crate) fn renew_certificates(&self) {
        assert!(self.tls.is_some(), "not a remote store");
        Tls::write(&self.dir);
    }

    /// Starts it again at the same address, with the same data.
    pub(crate) async fn run(&mut self) {
        let tls = self.tls.as_ref().expect("a remote store");
        self.runs = match self.kind {
            StoreKind::Served => serve(&self.dir, tls).await,
            StoreKind::Etcd => Runs::Etcd(spawn_etcd(&self.dir, tls)),
            StoreKind::Embedded => panic!("not a remote store"),
        };
        let answers = async {
            while self.backing.check().await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(DEADLINE, answers).await.expect("the store answers in time");
    }

    pub(crate) async fn close(mut self) {
        match std::mem::replace(&mut self.runs, Runs::Nothing) {
            Runs::Embedded(store) => {
                tokio::time::timeout(DEADLINE, store.close()).await.expect("it closes in time").unwrap();
            }
            Runs::Nothing => {}
            other => {
                self.runs = other;
                self.kill().await;
            }
        }
    }

    async fn channel(&self) -> tonic::transport::Channel {
        let port = self.tls.as_ref().expect("a remote store").plain_port;
        let uri = format!("http://127.0.0.1:{port}");
        tonic::transport::Endpoint::from_shared(uri).unwrap().connect().await.unwrap()
    }
}

impl Drop for TestStore {
    fn drop(&mut self) {
        if let Runs::Etcd(child) = &mut self.runs {
            // It may have ended already.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

impl Tls {
    /// Files with certificates for a server and its clients, of an authority of their own.
    fn write(dir: &Path) {
        let ca = Ca::generate("store", OffsetDateTime::now_utc(), Duration::from_secs(3600)).unwrap();
        let server = leaf(&ca, "store", &[], Usage::Server);
        let client = leaf(&ca, "apiserver", &[], Usage::Client);
        for (name, pem) in [
            ("store-ca.crt", ca.certificate_pem().as_bytes()),
            ("store-crt", &server.cert_pem),
            ("store-key", &server.key_pem),
            ("client-crt", &client.cert_pem),
            ("client-key", &client.key_pem),
        ] {
            std::fs::write(dir.join(name), pem).unwrap();
        }
    }
}

async fn open_embedded(dir: &Path) -> Store {
    let config = Config { dir: dir.join("store"), sync: false, ..Config::default() };
    let opened = async {
        loop {
            match Store::open(config.clone()).await {
                // A program that another test of this process starts has its files, with the lock of the store that was just
                // closed, for the moment between fork and exec.
                Err(OpenError::InUse { .. }) => tokio::time::sleep(Duration::from_millis(20)).await,
                other => return other.unwrap(),
            }
        }
    };
    tokio::time::timeout(DEADLINE, opened).await.expect("nobody else has the store")
}

/// Our store behind its gRPC face: over TLS for the server, plain for the test.
async fn serve(dir: &Path, tls: &Tls) -> Runs {
    let store = open_embedded(dir).await;
    let files = TlsFiles {
        cert: dir.join("store-crt"),
        key: dir.join("store-key"),
        trusted_ca: Some(dir.join("store-ca.crt")),
        client_cert_auth: true,
    };
    let mut listeners = Vec::new();
    for url in [format!("https://127.0.0.1:{}", tls.port), format!("http://127.0.0.1:{}", tls.plain_port)] {
        let endpoint: Endpoint = url.parse().unwrap();
        listeners.push(Listener::bind(&endpoint, Some(&files)).await.unwrap());
    }
    let stop = CancellationToken::new();
    let face = FaceConfig { stop_grace: Duration::from_millis(50), ..FaceConfig::default() };
    let face = Server::new(store.clone(), face).unwrap().serve(listeners, stop.clone());
    #[allow(clippy::disallowed_methods, reason = "a test's own task, joined at its end")]
    let face = tokio::spawn(face);
    Runs::Served { store, stop, face }
}

fn spawn_etcd(dir: &Path, tls: &Tls) -> Child {
    let (secure, plain) =
        (format!("https://127.0.0.1:{}", tls.port), format!("http://127.0.0.1:{}", tls.plain_port));
    let log = std::fs::File::create(dir.join("etcd.log")).unwrap();
    Command::new(etcd())
        .arg(format!("--data-dir={}", dir.join("etcd").display()))
        .arg(format!("--listen-client-urls={secure},{plain}"))
        .arg(format!("--advertise-client-urls={secure}"))
        .arg("--listen-peer-urls=http://127.0.0.1:0")
        .arg(format!("--cert-file={}", dir.join("store-crt").display()))
        .arg(format!("--key-file={}", dir.join("store-key").display()))
        .arg(format!("--trusted-ca-file={}", dir.join("store-ca.crt").display()))
        .args(["--client-cert-auth", "--unsafe-no-fsync", "--log-level=warn"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("etcd can be run")
}

/// The etcd to test with; fetched if it is not there.
fn etcd() -> PathBuf {
    #[allow(clippy::disallowed_methods, reason = "set by scripts/test")]
    if let Ok(path) = std::env::var("MAINSTAY_TEST_ETCD") {
        return path.into();
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/etcd-peer");
    let output = Command::new(script).output().unwrap();
    assert!(output.status.success(), "this test needs an etcd: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().into()
}
