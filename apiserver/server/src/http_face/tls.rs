//! TLS settings: the serving certificate and the authorities can change while the server runs; client certificates are optional.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, ring};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::authn::certificate::RequestClientCertificate;
use crate::config::PemPair;

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// PEM that cannot be read.
    #[error("reading the {what} as PEM")]
    Pem {
        /// Which.
        what: &'static str,
        /// Why.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// No certificate where one must be.
    #[error("the {0} has no certificate")]
    Empty(&'static str),
    /// A key and a certificate that do not go together, or an unusable one.
    #[error("using the {what}")]
    Rejected {
        /// Which.
        what: &'static str,
        /// Why.
        #[source]
        source: rustls::Error,
    },
}

/// Shakes hands with what is newest. Clones share it.
#[derive(Clone)]
pub struct Acceptor(Arc<ArcSwap<ServerConfig>>);

impl Acceptor {
    /// Shakes hands on a connection.
    pub(super) fn accept(&self, stream: TcpStream) -> tokio_rustls::Accept<TcpStream> {
        TlsAcceptor::from(self.0.load_full()).accept(stream)
    }
}

/// What a server shows, and whose certificates it tells clients to show.
pub struct Shown {
    /// The serving certificate.
    pub serving: watch::Receiver<PemPair>,
    /// The authorities of client certificates, PEM.
    pub clients: watch::Receiver<String>,
    /// The authorities of proxies' certificates, PEM; empty where there are none.
    pub proxies: Vec<u8>,
}

impl Shown {
    fn newest(&mut self, provider: &Arc<CryptoProvider>) -> Result<ServerConfig, TlsError> {
        let (pair, clients) =
            (self.serving.borrow_and_update().clone(), self.clients.borrow_and_update().clone());
        let authorities = roots(&[clients.as_bytes(), b"\n", &self.proxies].concat())?;
        let key = certified_key(provider, &pair)?;
        // Whether a client's certificate is trusted is authentication's question: a bad one is 401, not a broken handshake.
        let verifier = Arc::new(RequestClientCertificate::new(&authorities, Arc::clone(provider)));
        let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
            .with_safe_default_protocol_versions()
            .map_err(|source| TlsError::Rejected { what: "TLS versions", source })?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// An acceptor, and the task that follows changes of what is shown.
///
/// # Errors
/// [`TlsError`] for unusable certificates or keys.
pub fn acceptor(
    mut shown: Shown,
    stop: CancellationToken,
) -> Result<(Acceptor, impl Future<Output = ()> + Send + 'static), TlsError> {
    let provider = Arc::new(ring::default_provider());
    let acceptor = Acceptor(Arc::new(ArcSwap::from_pointee(shown.newest(&provider)?)));
    let newest = acceptor.clone();
    let follow = async move {
        loop {
            // One whose other end is gone never changes any more.
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Ok(()) = shown.serving.changed() => {}
                Ok(()) = shown.clients.changed() => {}
            }
            match shown.newest(&provider) {
                Ok(config) => {
                    newest.0.store(Arc::new(config));
                    info!("serving certificate and authorities reloaded");
                }
                Err(error) => {
                    error!(%error, "the new certificate or authority is unusable; those before stay");
                }
            }
        }
    };
    Ok((acceptor, follow))
}

/// What a certificate and its key are shown by.
///
/// # Errors
/// [`TlsError`] for unusable ones.
pub(crate) fn certified_key(provider: &CryptoProvider, pair: &PemPair) -> Result<CertifiedKey, TlsError> {
    let chain = certificates(&pair.cert_pem, "serving certificate")?;
    let key = PrivateKeyDer::from_pem_slice(&pair.key_pem)
        .map_err(|source| TlsError::Pem { what: "serving key", source })?;
    CertifiedKey::from_der(chain, key, provider)
        .map_err(|source| TlsError::Rejected { what: "serving certificate and key", source })
}

fn roots(pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem, "client CA")? {
        roots.add(certificate).map_err(|source| TlsError::Rejected { what: "client CA", source })?;
    }
    Ok(roots)
}

fn certificates(pem: &[u8], what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let list: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|source| TlsError::Pem { what, source })?;
    if list.is_empty() { Err(TlsError::Empty(what)) } else { Ok(list) }
}
