//! TLS settings: the serving certificate can change while the server runs; client certificates are optional.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
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

/// Hands out the newest certificate.
#[derive(Debug)]
struct Newest(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Newest {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// An acceptor, and the task that follows changes of the serving certificate.
///
/// # Errors
/// [`TlsError`] for unusable certificates or keys.
pub fn acceptor(
    mut serving: watch::Receiver<PemPair>,
    client_ca_pem: &[u8],
    stop: CancellationToken,
) -> Result<(TlsAcceptor, impl Future<Output = ()> + Send + 'static), TlsError> {
    let provider = Arc::new(ring::default_provider());
    let first = certified_key(&provider, &serving.borrow_and_update())?;
    let newest = Arc::new(Newest(ArcSwap::from_pointee(first)));
    // Whether a client's certificate is trusted is authentication's question: a bad one is 401, not a broken handshake.
    let verifier = Arc::new(RequestClientCertificate::new(&roots(client_ca_pem)?, Arc::clone(&provider)));
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|source| TlsError::Rejected { what: "TLS versions", source })?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::clone(&newest) as Arc<dyn ResolvesServerCert>);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let follow = async move {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                changed = serving.changed() => if changed.is_err() { return },
            }
            let pair = serving.borrow_and_update().clone();
            match certified_key(&provider, &pair) {
                Ok(key) => {
                    newest.0.store(Arc::new(key));
                    info!("serving certificate reloaded");
                }
                Err(error) => error!(%error, "the new serving certificate is unusable; the old one stays"),
            }
        }
    };
    Ok((TlsAcceptor::from(Arc::new(config)), follow))
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
