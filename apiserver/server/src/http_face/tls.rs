//! TLS settings: the serving certificate and the authorities can change while the server runs; client certificates are optional.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, ring};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CipherSuite, RootCertStore, ServerConfig, SupportedCipherSuite};
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
        config.ignore_client_order = true;
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
    let provider = Arc::new(provider());
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

/// What encrypts: AES with keys of 128 bits before the others, ten rounds of AES a block and not fourteen. Go's servers prefer it too, but for
/// clients that would rather have ChaCha20.
fn provider() -> CryptoProvider {
    let mut provider = ring::default_provider();
    let is_short = |suite: &SupportedCipherSuite| {
        use CipherSuite::{
            TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            TLS13_AES_128_GCM_SHA256,
        };
        matches!(
            suite.suite(),
            TLS13_AES_128_GCM_SHA256
                | TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
                | TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
        )
    };
    provider.cipher_suites.sort_by_key(|suite| (suite.tls13().is_none(), !is_short(suite)));
    provider
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

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::time::Duration;

    use mainstay_base::pki::{Ca, LeafRequest, SubjectName, Usage};
    use rustls::{ClientConfig, ClientConnection, ServerConnection};
    use rustls_pki_types::ServerName;
    use time::OffsetDateTime;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn shown(ca: &Ca) -> Shown {
        let request = LeafRequest {
            common_name: "server".to_owned(),
            organization: None,
            names: vec![SubjectName::Dns("server.example".to_owned())],
            usage: Usage::Server,
            validity: HOUR,
        };
        let leaf = ca.issue(&request, OffsetDateTime::now_utc()).unwrap();
        let pair =
            PemPair { cert_pem: leaf.certificate_pem.into_bytes(), key_pem: leaf.key_pem.into_bytes() };
        let clients = watch::channel(ca.certificate_pem().to_owned()).1;
        Shown { serving: watch::channel(pair).1, clients, proxies: Vec::new() }
    }

    /// What a client agrees on with this server. Its own order has the long keys first.
    fn agreed(
        ca: &Ca,
        server: ServerConfig,
        version: &'static rustls::SupportedProtocolVersion,
    ) -> CipherSuite {
        let roots = roots(ca.certificate_pem().as_bytes()).unwrap();
        let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("server.example").unwrap();
        let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
        let mut server = ServerConnection::new(Arc::new(server)).unwrap();
        while client.is_handshaking() || server.is_handshaking() {
            let (mut there, mut back) = (Vec::new(), Vec::new());
            while client.wants_write() {
                client.write_tls(&mut there).unwrap();
            }
            server.read_tls(&mut Cursor::new(there)).unwrap();
            server.process_new_packets().unwrap();
            while server.wants_write() {
                server.write_tls(&mut back).unwrap();
            }
            client.read_tls(&mut Cursor::new(back)).unwrap();
            client.process_new_packets().unwrap();
        }
        server.negotiated_cipher_suite().unwrap().suite()
    }

    #[test]
    fn keys_of_128_bits_are_agreed_on_whatever_the_client_would_rather_have() {
        let ca = Ca::generate("test", OffsetDateTime::now_utc(), HOUR).unwrap();
        let server = || shown(&ca).newest(&Arc::new(provider())).unwrap();
        assert_eq!(agreed(&ca, server(), &rustls::version::TLS13), CipherSuite::TLS13_AES_128_GCM_SHA256);
        assert_eq!(
            agreed(&ca, server(), &rustls::version::TLS12),
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        );
    }
}
