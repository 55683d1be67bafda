//! The URLs that a server listens on, as etcd's flags give them.
use std::path::PathBuf;
use std::str::FromStr;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `http://HOST:PORT` or `https://HOST:PORT`.
    Tcp {
        /// A name or an address, without brackets.
        host: String,
        /// The port; 0 lets the system choose.
        port: u16,
        /// Whether it is TLS.
        tls: bool,
    },
    /// `unix://PATH` or `unixs://PATH`.
    Unix {
        /// The socket's file.
        path: PathBuf,
        /// Whether it is TLS.
        tls: bool,
    },
}

/// The text is no such URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// The part before `://`.
    #[error("URL {0:?} must begin with http://, https://, unix:// or unixs://")]
    Scheme(String),
    /// The part after it.
    #[error("URL {0:?} must be SCHEME://HOST:PORT, without a path")]
    Address(String),
}

impl Endpoint {
    /// Whether it is TLS.
    pub fn is_tls(&self) -> bool {
        match self {
            Self::Tcp { tls, .. } | Self::Unix { tls, .. } => *tls,
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(url: &str) -> Result<Self, EndpointError> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| EndpointError::Scheme(url.into()))?;
        let tls = match scheme {
            "http" | "unix" => false,
            "https" | "unixs" => true,
            _ => return Err(EndpointError::Scheme(url.into())),
        };
        let wrong = || EndpointError::Address(url.into());
        if scheme.starts_with("unix") {
            return if rest.is_empty() { Err(wrong()) } else { Ok(Self::Unix { path: rest.into(), tls }) };
        }
        let (host, port) = rest.trim_end_matches('/').rsplit_once(':').ok_or_else(wrong)?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() || host.contains('/') {
            return Err(wrong());
        }
        Ok(Self::Tcp { host: host.into(), port: port.parse().map_err(|_not_a_port| wrong())?, tls })
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp { host, port, tls } => {
                let scheme = if *tls { "https" } else { "http" };
                if host.contains(':') {
                    write!(f, "{scheme}://[{host}]:{port}")
                } else {
                    write!(f, "{scheme}://{host}:{port}")
                }
            }
            Self::Unix { path, tls } => {
                write!(f, "{}://{}", if *tls { "unixs" } else { "unix" }, path.display())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_come_back_as_they_were() {
        for url in ["http://127.0.0.1:2379", "https://[::1]:0", "unix:///run/etcd.sock", "unixs://etcd:1"] {
            assert_eq!(url.parse::<Endpoint>().unwrap().to_string(), url);
        }
    }

    #[test]
    fn what_cannot_be_listened_on_is_refused() {
        for url in [
            "127.0.0.1:2379",
            "ftp://a:1",
            "http://a",
            "http://:1",
            "http://a:99999",
            "http://a/b:1",
            "unix://",
        ] {
            assert!(url.parse::<Endpoint>().is_err(), "{url}");
        }
    }
}
