//! Mutual TLS between members. The files are looked at again at each new link, so that a renewed certificate needs no restart; links that
//! are open keep what they began with.
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::TransportError;

/// A member's certificate, its key, and the authority that all members' certificates are of: PEM files, etcd's `--peer-cert-file`,
/// `--peer-key-file` and `--peer-trusted-ca-file`. The certificate must serve both ends of a connection.
#[derive(Clone, Debug)]
pub struct PeerTls {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    certificate: PathBuf,
    key: PathBuf,
    authority: PathBuf,
    loaded: Mutex<Loaded>,
}

#[derive(Clone, Debug)]
struct Loaded {
    /// When the three files were changed last.
    changed: [Option<SystemTime>; 3],
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl PeerTls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TransportError::Tls`] names the file that cannot be used.
    pub fn load(
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
        authority: impl Into<PathBuf>,
    ) -> Result<Self, TransportError> {
        let (certificate, key, authority) = (certificate.into(), key.into(), authority.into());
        let loaded = Mutex::new(read(&certificate, &key, &authority)?);
        Ok(Self { shared: Arc::new(Shared { certificate, key, authority, loaded }) })
    }

    pub(super) async fn connect(&self, host: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let connector = TlsConnector::from(self.current().client);
        Ok(TlsStream::Client(connector.connect(name, stream).await?))
    }

    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let acceptor = TlsAcceptor::from(self.current().server);
        Ok(TlsStream::Server(acceptor.accept(stream).await?))
    }

    /// What the files say now. Files that cannot be used (half written, say) leave things as they were.
    fn current(&self) -> Loaded {
        let Shared { certificate, key, authority, loaded } = &*self.shared;
        let mut loaded = loaded.lock();
        if changed(certificate, key, authority) != loaded.changed {
            match read(certificate, key, authority) {
                Ok(renewed) => {
                    tracing::info!(file = %certificate.display(), "the certificate between members was read again");
                    *loaded = renewed;
                }
                Err(error) => {
                    tracing::warn!(%error, "a changed certificate cannot be used; the old one stays");
                }
            }
        }
        loaded.clone()
    }
}

fn changed(certificate: &Path, key: &Path, authority: &Path) -> [Option<SystemTime>; 3] {
    [certificate, key, authority].map(|file| fs::metadata(file).and_then(|metadata| metadata.modified()).ok())
}

fn read(certificate: &Path, key: &Path, authority: &Path) -> Result<Loaded, TransportError> {
    let bad = |file: &Path, what: String| TransportError::Tls { file: file.display().to_string(), what };
    // Before reading: what changes meanwhile is read again next time.
    let changed = changed(certificate, key, authority);
    let chain = certificates(certificate)?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| bad(key, error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for root in certificates(authority)? {
        roots.add(root).map_err(|error| bad(authority, error.to_string()))?;
    }
    let roots = Arc::new(roots);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
        .build()
        .map_err(|error| bad(authority, error.to_string()))?;
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| bad(certificate, error.to_string()))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain.clone(), private.clone_key())
        .map_err(|error| bad(certificate, error.to_string()))?;
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| bad(certificate, error.to_string()))?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, private)
        .map_err(|error| bad(certificate, error.to_string()))?;
    Ok(Loaded { changed, client: Arc::new(client), server: Arc::new(server) })
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TransportError> {
    let bad = |what: String| TransportError::Tls { file: file.display().to_string(), what };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| bad(error.to_string()))?;
    if chain.is_empty() { Err(bad("it holds no certificate".into())) } else { Ok(chain) }
}
