//! A server, or a store, in a process of its own, so that its memory and its CPU time are its own: this program, called
//! again.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use mainstay_apiserver_server::config::PemPair;
use mainstay_base::pki::{Ca, Usage};
use mainstay_store::etcd::{Endpoint, FaceConfig, Listener, TlsFiles};
use mainstay_store::{Config, Store};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::harness::{Client, HOUR, Server, leaf};

/// The argument that makes this program a server over a directory.
pub(crate) const SERVER: &str = "server-process";

/// The argument that makes this program a store over a directory, behind its own face.
pub(crate) const STORE: &str = "store-process";

/// A running server; killed when it is dropped.
pub(crate) struct ServerProcess {
    child: Child,
    pub(crate) client: Client,
}

/// What [`SERVER`] and [`STORE`] do: serve until they are killed.
pub(crate) async fn serve(what: &str, dir: &Path) {
    if what == STORE {
        return serve_store(dir).await;
    }
    let server = Server::start_in(dir.to_owned()).await;
    write_identity(dir, &server.ca_pem, &server.identity());
    println!("{}", server.api.local_addr());
    std::future::pending::<()>().await;
}

async fn serve_store(dir: &Path) {
    let store = Store::open(Config { dir: dir.join("store"), ..Config::default() }).await.unwrap();
    let ca = Ca::generate("bench", OffsetDateTime::now_utc(), HOUR).unwrap();
    let own = leaf(&ca, "store", &[], Usage::Server);
    let files = TlsFiles {
        cert: dir.join("own-cert"),
        key: dir.join("own-key"),
        trusted_ca: Some(dir.join("ca")),
        client_cert_auth: true,
    };
    std::fs::write(&files.cert, &own.cert_pem).unwrap();
    std::fs::write(&files.key, &own.key_pem).unwrap();
    write_identity(dir, ca.certificate_pem().as_bytes(), &leaf(&ca, "client", &[], Usage::Client));
    let endpoint: Endpoint = "https://127.0.0.1:0".parse().unwrap();
    let listener = Listener::bind(&endpoint, Some(&files)).await.unwrap();
    let Endpoint::Tcp { host, port, .. } = listener.endpoint().clone() else { unreachable!("it is TCP") };
    println!("{host}:{port}");
    let face = mainstay_store::etcd::Server::new(store, FaceConfig::default()).unwrap();
    face.serve(vec![listener], CancellationToken::new()).await;
}

/// Who [`ServerProcess::start`] calls as, and whom it trusts.
fn write_identity(dir: &Path, ca_pem: &[u8], identity: &PemPair) {
    for (name, pem) in [("ca", ca_pem), ("cert", &identity.cert_pem), ("key", &identity.key_pem)] {
        std::fs::write(dir.join(name), pem).unwrap();
    }
}

impl ServerProcess {
    /// Starts a [`SERVER`] or [`STORE`] over `dir`, which may hold objects already.
    pub(crate) fn start(what: &str, dir: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg(what)
            .arg(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let read = |name: &str| std::fs::read(dir.join(name)).unwrap();
        let identity = PemPair { cert_pem: read("cert"), key_pem: read("key") };
        let client = Client::new(line.trim().parse().unwrap(), &read("ca"), &identity);
        Self { child, client }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has in memory now.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most that it had in memory since [`ServerProcess::forget_peak`].
    pub(crate) fn peak_bytes(&self) -> u64 {
        self.status("VmHWM:")
    }

    pub(crate) fn forget_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.pid()), "5").unwrap();
    }

    fn status(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// The CPU time that it has used, in seconds.
    pub(crate) fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        ticks as f64 / 100.0 // on every Linux that we run on
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
