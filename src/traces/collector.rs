//! Where a collector is: what gRPC's Go library takes as a target, as far as upstream allows it.

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};
use url::Url;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A collector: `HOST:PORT`, `dns:///HOST:PORT` or `unix:///PATH`. It is spoken to without TLS, as
/// upstream does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Collector {
    /// A name or address, and a port.
    Host(String),
    /// A socket.
    Socket(String),
}

impl Default for Collector {
    fn default() -> Self {
        Self::Host("localhost:4317".to_owned())
    }
}

impl std::str::FromStr for Collector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let with_scheme = if text.contains("//") { text.to_owned() } else { format!("dns:///{text}") };
        let url = Url::parse(&with_scheme).map_err(|error| error.to_string())?;
        match url.scheme() {
            "dns" => host(url.path().trim_start_matches('/')).ok_or_else(|| "give HOST:PORT".to_owned()),
            "unix" if url.path().len() > 1 => Ok(Self::Socket(url.path().to_owned())),
            "unix" => Err("give unix:///PATH".to_owned()),
            scheme => Err(format!(
                "unsupported scheme: {scheme}.  Options are none, dns or unix.  See https://github.com/grpc/grpc/blob/master/doc/naming.md"
            )),
        }
    }
}

/// A host with a port, as it is written in a URL.
fn host(text: &str) -> Option<Collector> {
    let authority: http::uri::Authority = text.parse().ok()?;
    let is_plain = !authority.host().is_empty() && authority.port_u16().is_some() && !text.contains('@');
    is_plain.then(|| Collector::Host(text.to_owned()))
}

impl Collector {
    /// A connection that is made when it is first needed, and anew when it broke.
    ///
    /// # Errors
    /// What is no address after all.
    pub(super) fn connect(&self) -> anyhow::Result<Channel> {
        let url = match self {
            Self::Host(host) => format!("http://{host}"),
            Self::Socket(path) => format!("unix://{path}"),
        };
        Ok(Endpoint::from_shared(url)?.connect_timeout(CONNECT_TIMEOUT).connect_lazy())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_those_of_upstream() {
        let host = |text: &str| Ok(Collector::Host(text.to_owned()));
        assert_eq!("localhost:4317".parse(), host("localhost:4317"));
        assert_eq!("dns:///otel.example:4317".parse(), host("otel.example:4317"));
        assert_eq!("[::1]:4317".parse(), host("[::1]:4317"));
        assert_eq!("unix:///run/otel.sock".parse(), Ok(Collector::Socket("/run/otel.sock".to_owned())));
        for bad in
            ["", "localhost", "http://localhost:4317", "https://a:1", "a:b", "unix://", "a@b:1", "a:1/x"]
        {
            assert!(bad.parse::<Collector>().is_err(), "{bad}");
        }
    }
}
