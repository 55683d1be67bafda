//! Which servers, and how they and this client know each other.

use std::sync::Arc;

use http::Uri;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::config::PemPair;

/// A remote store.
#[derive(Debug, Clone)]
pub struct EtcdConfig {
    /// The servers' URLs, `http://HOST:PORT` or `https://HOST:PORT`; at least one.
    pub servers: Vec<String>,
    /// What their keys begin with, such as `/registry`.
    pub prefix: String,
    /// How https is spoken.
    pub tls: EtcdTls,
}

/// Certificates for https.
#[derive(Debug, Clone, Default)]
pub struct EtcdTls {
    /// Whose certificates are good, PEM; none believes the authorities that this machine does.
    pub ca_pem: Option<Vec<u8>>,
    /// What this client shows.
    pub identity: Option<PemPair>,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EtcdConfigError {
    /// No server.
    #[error("no server is named")]
    NoServers,
    /// A URL.
    #[error("{url:?} is not a server: give http://HOST:PORT or https://HOST:PORT")]
    Url {
        /// The text.
        url: String,
    },
    /// The authorities.
    #[error("reading the authority's certificates: {0}")]
    Authority(String),
    /// The certificate or the key that this client shows.
    #[error("reading the client's certificate and key: {0}")]
    Identity(String),
}

/// The servers' URLs, each with scheme, host and port.
pub(super) fn uris(servers: &[String]) -> Result<Vec<Uri>, EtcdConfigError> {
    if servers.is_empty() {
        return Err(EtcdConfigError::NoServers);
    }
    servers.iter().map(|url| uri(url).ok_or_else(|| EtcdConfigError::Url { url: url.clone() })).collect()
}

fn uri(url: &str) -> Option<Uri> {
    let uri: Uri = url.trim().parse().ok()?;
    let scheme_is_known = matches!(uri.scheme_str(), Some("http" | "https"));
    let is_bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
    let host_is_there = uri.host().is_some_and(|host| !host.is_empty());
    (scheme_is_known && is_bare && host_is_there && uri.port_u16().is_some()).then_some(uri)
}

/// What TLS connections are made with.
pub(super) fn client_config(tls: &EtcdTls) -> Result<Arc<ClientConfig>, EtcdConfigError> {
    let roots = match &tls.ca_pem {
        Some(pem) => authorities(pem)?,
        None => machine_authorities(),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| EtcdConfigError::Authority(error.to_string()))?
        .with_root_certificates(roots);
    let wrong = |error: &dyn std::fmt::Display| EtcdConfigError::Identity(error.to_string());
    let mut config = match &tls.identity {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pair.cert_pem).collect();
            let chain = chain.map_err(|error| wrong(&error))?;
            let key = PrivateKeyDer::from_pem_slice(&pair.key_pem).map_err(|error| wrong(&error))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| wrong(&error))?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

fn authorities(pem: &[u8]) -> Result<RootCertStore, EtcdConfigError> {
    let wrong = |error: &dyn std::fmt::Display| EtcdConfigError::Authority(error.to_string());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.map_err(|error| wrong(&error))?).map_err(|error| wrong(&error))?;
    }
    if roots.is_empty() {
        return Err(wrong(&"there is no certificate in it"));
    }
    Ok(roots)
}

/// What this machine believes; those of them that cannot be used are left out, as everywhere.
fn machine_authorities() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_urls_with_a_port_and_nothing_after_it() {
        let good = ["http://127.0.0.1:2379", "https://etcd.example:2379/", "http://[::1]:1"];
        assert_eq!(uris(&good.map(str::to_owned)).unwrap().len(), 3);
        for bad in
            ["127.0.0.1:2379", "ftp://a:1", "http://a", "http://a:1/x", "http://a:1?x", "http://:1", ""]
        {
            let error = uris(&[bad.to_owned()]).unwrap_err().to_string();
            assert!(error.contains("HOST:PORT"), "{bad}: {error}");
        }
        assert!(matches!(uris(&[]), Err(EtcdConfigError::NoServers)));
    }
}
