//! One member's process and disk, and how clients connect to it.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Child, Command};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustix::process::{Pid, Signal, kill_process};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::network::run;

/// A small file system of its own, so that it can be filled.
pub(crate) struct Disk {
    path: PathBuf,
}

/// Room for the data and for what is kept free.
const DISK_MIB: u32 = 384;

impl Disk {
    pub(crate) fn new(path: PathBuf) -> Self {
        std::fs::create_dir(&path).unwrap();
        run(&format!("mount -t tmpfs -o size={DISK_MIB}m mainstay-robust {}", path.display()));
        Self { path }
    }

    fn filler(&self) -> PathBuf {
        self.path.join("filler")
    }

    /// Leaves a few pages.
    pub(crate) fn fill(&self) {
        let output = Command::new("df").args(["--output=avail", "-k"]).arg(&self.path).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let free: u64 = said.lines().nth(1).unwrap().trim().parse().unwrap();
        run(&format!("fallocate -l {}k {}", free.saturating_sub(64), self.filler().display()));
    }

    pub(crate) fn free(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("--lazy").arg(&self.path).output());
    }
}

/// A member, running or not.
pub(crate) struct Member {
    pub(crate) process: Option<Child>,
    // After the process, which uses it.
    pub(crate) disk: Disk,
    /// Whether it forms a cluster or joins one.
    pub(crate) state: &'static str,
    /// How often it was replaced.
    pub(crate) generation: u32,
}

impl Member {
    pub(crate) fn data(&self) -> PathBuf {
        self.disk.path.join("data")
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // One that has ended by itself needs no killing.
            drop(process.kill());
            drop(process.wait());
        }
    }
}

pub(crate) fn signal(member: &Member, signal: Signal) {
    kill_process(Pid::from_child(member.process.as_ref().unwrap()), signal).unwrap();
}

/// The files of certificates.
#[derive(Clone)]
pub(crate) struct Tls {
    pub(crate) ca: PathBuf,
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

fn certificates(file: &Path) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(file).unwrap().collect::<Result<_, _>>().unwrap()
}

impl Tls {
    fn config(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.ca) {
            roots.add(certificate).unwrap();
        }
        let mut config =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_client_auth_cert(
                    certificates(&self.cert),
                    PrivateKeyDer::from_pem_file(&self.key).unwrap(),
                )
                .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    }

    /// A channel whose calls take no longer than `call_max`. It connects anew by itself.
    pub(crate) async fn connect(
        &self,
        url: &str,
        call_max: Duration,
    ) -> Result<Channel, tonic::transport::Error> {
        endpoint(call_max, url).connect_with_connector(self.connector()).await
    }

    /// The same, connected when it is first used.
    pub(crate) fn connect_later(&self, url: &str, call_max: Duration) -> Channel {
        endpoint(call_max, url).connect_with_connector_lazy(self.connector())
    }

    fn connector(&self) -> Connector {
        Connector(TlsConnector::from(Arc::new(self.config())))
    }
}

fn endpoint(call_max: Duration, url: &str) -> Endpoint {
    Endpoint::from(url.parse::<Uri>().unwrap()).connect_timeout(Duration::from_secs(2)).timeout(call_max)
}

/// Opens TLS connections; what goes through them is spoken plainly.
#[derive(Clone)]
struct Connector(TlsConnector);

type Connected = io::Result<TokioIo<TlsStream<TcpStream>>>;

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Connected> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.0.clone();
        Box::pin(async move {
            let host = uri.host().unwrap().to_owned();
            let stream = TcpStream::connect((host.as_str(), uri.port_u16().unwrap())).await?;
            stream.set_nodelay(true)?;
            let name = ServerName::try_from(host).map_err(io::Error::other)?;
            Ok(TokioIo::new(connector.connect(name, stream).await?))
        })
    }
}
