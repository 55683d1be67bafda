//! Which servers, and how they and this client know each other.

use std::path::PathBuf;

use http::Uri;

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

/// Files with certificates for https, PEM. They are read again when they change, for the connections from then on.
#[derive(Debug, Clone, Default)]
pub struct EtcdTls {
    /// Whose certificates are good; none believes the authorities that this machine does.
    pub ca_file: Option<PathBuf>,
    /// What this client shows; nothing unless its key is there too.
    pub cert_file: Option<PathBuf>,
    /// The key of that.
    pub key_file: Option<PathBuf>,
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
    #[error("{}: {why}", file.display())]
    Authority {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The certificate or the key that this client shows.
    #[error("{}: {why}", file.display())]
    Identity {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// TLS itself.
    #[error("TLS: {0}")]
    Protocol(String),
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
