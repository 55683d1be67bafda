//! TLS of a listener, from files that may change while it serves.
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use rustls::crypto::ring::default_provider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// The files that a listener's TLS is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and those between it and its authority, as PEM.
    pub cert: PathBuf,
    /// Its key, as PEM.
    pub key: PathBuf,
    /// The authorities whose certificates clients have to show, as PEM. Without, clients are asked for none.
    pub trusted_ca: Option<PathBuf>,
    /// Whether the common name in a client's certificate says who it is.
    pub client_cert_auth: bool,
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is no PEM of its kind.
    #[error("{}: {message}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The parts do not fit together.
    #[error("certificate {} and its key: {message}", cert.display())]
    Config {
        /// The certificate's file.
        cert: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// Clients are to show certificates, but nobody's are known.
    #[error("client certificates are asked for, but no file with trusted authorities is given")]
    NoTrustedCa,
    /// A URL is TLS and has no certificate.
    #[error("{0} needs a certificate and a key")]
    NoCertificate(String),
}

/// How a file was when it was read: length and time of change.
type Stamp = (u64, Option<SystemTime>);

#[derive(Debug)]
struct Loaded {
    config: Arc<ServerConfig>,
    stamps: Vec<Option<Stamp>>,
}

/// TLS that follows its files: a changed certificate is used from the next connection on.
#[derive(Debug)]
pub(super) struct ReloadingTls {
    files: TlsFiles,
    loaded: Mutex<Loaded>,
}

impl ReloadingTls {
    pub(super) fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let stamps = stamps(&files);
        let config = Arc::new(config(&files)?);
        Ok(Self { files, loaded: Mutex::new(Loaded { config, stamps }) })
    }

    /// Whether the common name in a certificate is its user.
    pub(super) fn names_users(&self) -> bool {
        self.files.client_cert_auth
    }

    /// The configuration for a new connection. Files that do not load leave the last one in use.
    pub(super) fn current(&self) -> Arc<ServerConfig> {
        let stamps = stamps(&self.files);
        let mut loaded = self.loaded.lock();
        if loaded.stamps != stamps {
            loaded.stamps = stamps;
            match config(&self.files) {
                Ok(config) => {
                    tracing::info!(cert = %self.files.cert.display(), "certificates were loaded again");
                    loaded.config = Arc::new(config);
                }
                Err(error) => {
                    tracing::warn!(%error, "changed certificates were not loaded; the last ones stay in use");
                }
            }
        }
        Arc::clone(&loaded.config)
    }
}

fn stamps(files: &TlsFiles) -> Vec<Option<Stamp>> {
    let stamp = |file: &Path| {
        let data = std::fs::metadata(file).ok()?;
        Some((data.len(), data.modified().ok()))
    };
    [Some(&files.cert), Some(&files.key), files.trusted_ca.as_ref()]
        .into_iter()
        .flatten()
        .map(|file| stamp(file))
        .collect()
}

fn file_error(file: &Path, message: &dyn std::fmt::Display) -> TlsError {
    TlsError::File { file: file.to_path_buf(), message: message.to_string() }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(file)
        .map_err(|error| file_error(file, &error))?
        .collect::<Result<_, _>>()
        .map_err(|error| file_error(file, &error))?;
    if certificates.is_empty() { Err(file_error(file, &"no certificate in it")) } else { Ok(certificates) }
}

fn config(files: &TlsFiles) -> Result<ServerConfig, TlsError> {
    let wrong = |error: &dyn std::fmt::Display| TlsError::Config {
        cert: files.cert.clone(),
        message: error.to_string(),
    };
    let chain = certificates(&files.cert)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| file_error(&files.key, &error))?;
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&error))?;
    let builder = match client_verifier(files)? {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| wrong(&error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn client_verifier(files: &TlsFiles) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    let Some(ca) = &files.trusted_ca else {
        return if files.client_cert_auth { Err(TlsError::NoTrustedCa) } else { Ok(None) };
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots.add(certificate).map_err(|error| file_error(ca, &error))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(default_provider()));
    builder.build().map(Some).map_err(|error| file_error(ca, &error))
}
