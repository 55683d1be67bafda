//! Connections to node agents (TLS with the server's own client certificate), to pods and to services.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use mainstay_base::lifecycle::Tasks;
use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tracing::warn;

use crate::config::{KubeletClient, PemPair};
use crate::http_face::{TlsError, certified_key};
use crate::types::Body;

/// The time for a connection, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a backend cannot be reached or the way to it cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The client identity or CA cannot be used.
    #[error("reading the client identity for node agents: {0}")]
    Identity(String),
    /// The host is not a name that a certificate could have.
    #[error("{0:?} is not a host name")]
    Host(String),
    /// No connection.
    #[error("dialing {address}")]
    Dial {
        /// Where to.
        address: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// No connection in time.
    #[error("dialing {0}: timed out")]
    Timeout(String),
    /// The connection does not speak HTTP.
    #[error("speaking HTTP with {address}")]
    Http {
        /// With whom.
        address: String,
        /// What went wrong.
        #[source]
        source: hyper::Error,
    },
}

/// Whom to trust at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// A node agent: TLS, its certificate is checked, ours is shown.
    NodeAgent,
    /// A pod or service over HTTPS: its certificate is not checked, as upstream does; ours is not shown.
    Anybody,
    /// Plain HTTP.
    Plain,
}

/// The other end of a proxied request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// IP address or host name.
    pub host: String,
    /// Port.
    pub port: u16,
    /// How it is spoken to.
    pub trust: Trust,
}

impl Target {
    /// `host:port`, with brackets around IPv6.
    pub fn authority(&self) -> String {
        match self.host.parse::<IpAddr>() {
            Ok(IpAddr::V6(address)) => format!("[{address}]:{}", self.port),
            _ => format!("{}:{}", self.host, self.port),
        }
    }
}

/// Shows node agents the newest certificate.
struct NewestClient {
    pair: watch::Receiver<PemPair>,
    provider: Arc<CryptoProvider>,
}

impl NewestClient {
    fn key(&self) -> Result<CertifiedKey, TlsError> {
        certified_key(&self.provider, &self.pair.borrow())
    }
}

impl std::fmt::Debug for NewestClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewestClient").finish_non_exhaustive()
    }
}

impl ResolvesClientCert for NewestClient {
    fn resolve(&self, _issuers: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        match self.key() {
            Ok(key) => Some(Arc::new(key)),
            Err(error) => {
                warn!(%error, "there is no certificate to show to node agents");
                None
            }
        }
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// The way to node agents: with the newest certificate, and with those authorities that count now.
struct NodeAgents {
    newest: Arc<NewestClient>,
    made: Mutex<(watch::Receiver<String>, TlsConnector)>,
}

impl NodeAgents {
    fn new(kubelet: &KubeletClient, provider: Arc<CryptoProvider>) -> Result<Self, BackendError> {
        let newest = Arc::new(NewestClient { pair: kubelet.identity.clone(), provider });
        // One that cannot be used is told at the start.
        newest.key().map_err(|error| BackendError::Identity(error.to_string()))?;
        let mut authorities = kubelet.ca_pem.clone();
        let connector = below(&authorities.borrow_and_update(), &newest)?;
        Ok(Self { newest, made: Mutex::new((authorities, connector)) })
    }

    fn connector(&self) -> TlsConnector {
        let mut made = self.made.lock();
        // An error means that they never change any more.
        if made.0.has_changed().unwrap_or(false) {
            let pem = made.0.borrow_and_update().clone();
            match below(&pem, &self.newest) {
                Ok(connector) => made.1 = connector,
                Err(error) => warn!(%error, "new authorities cannot be used; those before stay"),
            }
        }
        made.1.clone()
    }
}

/// Connections to node agents whose certificates are issued below `authorities`, PEM.
fn below(authorities: &str, newest: &Arc<NewestClient>) -> Result<TlsConnector, BackendError> {
    let failed = |error: &dyn std::fmt::Display| BackendError::Identity(error.to_string());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authorities.as_bytes()) {
        roots.add(certificate.map_err(|error| failed(&error))?).map_err(|error| failed(&error))?;
    }
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&newest.provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?
        .with_root_certificates(roots)
        .with_client_cert_resolver(Arc::clone(newest) as Arc<dyn ResolvesClientCert>);
    // A session that is resumed is the one of the certificate before.
    config.resumption = Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Opens connections.
#[derive(Clone)]
pub struct Backend {
    node_agents: Arc<NodeAgents>,
    anybody: TlsConnector,
    tasks: Tasks,
}

impl Backend {
    /// Connections with the identity of `kubelet`; their drivers run in `tasks`.
    pub fn new(kubelet: &KubeletClient, tasks: Tasks) -> Result<Self, BackendError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let anybody = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| BackendError::Identity(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyServer { provider: Arc::clone(&provider) }))
            .with_no_client_auth();
        Ok(Self {
            node_agents: Arc::new(NodeAgents::new(kubelet, Arc::clone(&provider))?),
            anybody: TlsConnector::from(Arc::new(anybody)),
            tasks,
        })
    }

    /// Where the connection drivers run.
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// A fresh HTTP/1.1 connection to `target`. It ends with its only request.
    pub async fn connect(&self, target: &Target) -> Result<SendRequest<Body>, BackendError> {
        match tokio::time::timeout(CONNECT_TIMEOUT, self.open(target)).await {
            Ok(opened) => opened,
            Err(_elapsed) => Err(BackendError::Timeout(target.authority())),
        }
    }

    /// A fresh HTTP/1.1 connection to `host:port` by `connector`, whose other end must prove to be `name`. It ends with
    /// its only request.
    pub(crate) async fn connect_by(
        &self,
        connector: &TlsConnector,
        target: &Target,
        name: &str,
    ) -> Result<SendRequest<Body>, BackendError> {
        let address = target.authority();
        let dial = |source| BackendError::Dial { address: address.clone(), source };
        let opened = async {
            let name =
                ServerName::try_from(name.to_owned()).map_err(|_name| BackendError::Host(name.to_owned()))?;
            let tcp = TcpStream::connect((target.host.as_str(), target.port)).await.map_err(dial)?;
            tcp.set_nodelay(true).map_err(dial)?;
            self.speak(connector.connect(name, tcp).await.map_err(dial)?, &address).await
        };
        match tokio::time::timeout(CONNECT_TIMEOUT, opened).await {
            Ok(opened) => opened,
            Err(_elapsed) => Err(BackendError::Timeout(address.clone())),
        }
    }

    async fn open(&self, target: &Target) -> Result<SendRequest<Body>, BackendError> {
        let address = target.authority();
        let dial = |source| BackendError::Dial { address: address.clone(), source };
        let tcp = TcpStream::connect((target.host.as_str(), target.port)).await.map_err(dial)?;
        tcp.set_nodelay(true).map_err(dial)?;
        let connector = match target.trust {
            Trust::Plain => return self.speak(tcp, &address).await,
            Trust::NodeAgent => self.node_agents.connector(),
            Trust::Anybody => self.anybody.clone(),
        };
        let name = ServerName::try_from(target.host.clone())
            .map_err(|_name| BackendError::Host(target.host.clone()))?;
        let tls = connector.connect(name, tcp).await.map_err(dial)?;
        self.speak(tls, &address).await
    }

    async fn speak<T>(&self, io: T, address: &str) -> Result<SendRequest<Body>, BackendError>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(io))
            .await
            .map_err(|source| BackendError::Http { address: address.to_owned(), source })?;
        let stop = self.tasks.token();
        self.tasks.spawn("proxy-connection", async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                result = connection.with_upgrades() => {
                    if let Err(error) = result {
                        tracing::debug!(%error, "a proxied connection ended");
                    }
                }
            }
        });
        Ok(sender)
    }
}

impl std::fmt::Debug for Backend {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Backend").finish_non_exhaustive()
    }
}

/// Takes any server certificate: pods and services have none that this server could check.
#[derive(Debug)]
pub(crate) struct AnyServer {
    pub(crate) provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
