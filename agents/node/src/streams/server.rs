//! The TLS server of the kubelet API. Every client shows a certificate of the cluster's authority, and only the
//! configured names may use it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use mainstay_base::lifecycle::Tasks;
use mainstay_base::pki::Leaf;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use super::metrics::RunningMetrics;
use super::routes::Routes;
use crate::agent::Agent;
use crate::config::Config;
use crate::desired::Desired;

/// Connections at a time.
const CONNECTIONS_MAX: usize = 1024;
/// How long a client may take to shake hands or to send its headers.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Binds and serves; returns where it listens.
pub(crate) async fn serve(
    agent: Arc<Agent>,
    tasks: &Tasks,
    desired: watch::Receiver<Option<Desired>>,
) -> Result<SocketAddr, String> {
    let mut acceptor = Acceptor::new(&agent.config)?;
    let running =
        RunningMetrics::new(&agent.config.registry).map_err(|e| format!("registering metrics: {e}"))?;
    let listener = TcpListener::bind(agent.config.bind).await.map_err(|e| e.to_string())?;
    let bound = listener.local_addr().map_err(|e| e.to_string())?;
    let (stop, group) = (tasks.token(), tasks.clone());
    tasks.spawn("kubelet API", async move {
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let routes = Arc::new(Routes { agent, tasks: group.clone(), desired, running });
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, "accepting a connection to the kubelet API failed");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let (acceptor, routes, stop) = (acceptor.newest(), Arc::clone(&routes), stop.clone());
            group.spawn("kubelet API connection", async move {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => {}
                    () = connection(acceptor, stream, peer, routes) => {}
                }
                drop(slot);
            });
        }
    });
    Ok(bound)
}

async fn connection(acceptor: TlsAcceptor, stream: TcpStream, peer: SocketAddr, routes: Arc<Routes>) {
    stream.set_nodelay(true).ok();
    let tls = match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(tls)) => tls,
        Ok(Err(error)) => {
            debug!(%peer, %error, "a client of the kubelet API did not shake hands");
            return;
        }
        Err(_elapsed) => return,
    };
    let name = tls.get_ref().1.peer_certificates().and_then(<[_]>::first).and_then(common_name);
    let allowed = name.as_ref().is_some_and(|name| routes.agent.config.allowed_clients.contains(name));
    let service = service_fn(move |request| {
        let routes = Arc::clone(&routes);
        async move { Ok::<_, std::convert::Infallible>(routes.answer(request, allowed)) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HANDSHAKE)
        .serve_connection(TokioIo::new(tls), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        debug!(%peer, %error, "a connection to the kubelet API ended");
    }
}

fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let name = parsed.subject().iter_common_name().next()?.as_str().ok()?;
    Some(name.to_owned())
}

/// Shows the newest certificate.
struct Newest {
    serving: watch::Receiver<Leaf>,
    provider: Arc<CryptoProvider>,
}

impl Newest {
    fn key(&self) -> Result<CertifiedKey, String> {
        let leaf = self.serving.borrow().clone();
        let chain = CertificateDer::pem_slice_iter(leaf.certificate_pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| format!("reading the serving certificate: {e}"))?;
        let key = PrivateKeyDer::from_pem_slice(leaf.key_pem.as_bytes())
            .map_err(|e| format!("reading the serving key: {e}"))?;
        CertifiedKey::from_der(chain, key, &self.provider)
            .map_err(|e| format!("taking the serving certificate: {e}"))
    }
}

impl std::fmt::Debug for Newest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Newest").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Newest {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        match self.key() {
            Ok(key) => Some(Arc::new(key)),
            Err(error) => {
                warn!(%error, "the kubelet API has no certificate to show");
                None
            }
        }
    }
}

/// Shakes hands with clients of those authorities that count now.
struct Acceptor {
    authorities: watch::Receiver<String>,
    serving: watch::Receiver<Leaf>,
    made: TlsAcceptor,
}

impl Acceptor {
    fn new(config: &Config) -> Result<Self, String> {
        let (mut authorities, serving) = (config.client_ca_pem.clone(), config.serving.clone());
        let made = tls(&authorities.borrow_and_update(), &serving)?;
        Ok(Self { authorities, serving, made: TlsAcceptor::from(Arc::new(made)) })
    }

    fn newest(&mut self) -> TlsAcceptor {
        // An error means that they never change any more.
        if self.authorities.has_changed().unwrap_or(false) {
            match tls(&self.authorities.borrow_and_update(), &self.serving) {
                Ok(made) => self.made = TlsAcceptor::from(Arc::new(made)),
                Err(error) => warn!(%error, "new authorities cannot be used; those before stay"),
            }
        }
        self.made.clone()
    }
}

fn tls(authorities: &str, serving: &watch::Receiver<Leaf>) -> Result<ServerConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authorities.as_bytes()) {
        let certificate = certificate.map_err(|e| format!("reading the client authority: {e}"))?;
        roots.add(certificate).map_err(|e| format!("taking the client authority: {e}"))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(|e| format!("preparing client verification: {e}"))?;
    let newest = Newest { serving: serving.clone(), provider: Arc::clone(&provider) };
    newest.key()?; // a certificate that cannot be used is told at the start
    let mut tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(newest));
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(tls)
}
