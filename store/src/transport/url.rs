//! Peer URLs: `http://host:port` and `https://host:port`, nothing else.
use std::io;

/// Where a peer URL leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PeerUrl<'u> {
    pub(super) tls: bool,
    /// Host and port.
    pub(super) authority: &'u str,
    /// The host alone, without brackets.
    pub(super) host: &'u str,
}

/// Takes a URL apart.
pub(super) fn parse(url: &str) -> io::Result<PeerUrl<'_>> {
    let bad = || io::Error::new(io::ErrorKind::InvalidInput, format!("{url:?} is no peer URL"));
    let (tls, authority) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
        (Some(rest), _) => (false, rest),
        (None, Some(rest)) => (true, rest),
        (None, None) => return Err(bad()),
    };
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    let (host, port) = authority.rsplit_once(':').ok_or_else(bad)?;
    if host.is_empty() || authority.contains('/') || port.parse::<u16>().is_err() {
        return Err(bad());
    }
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Ok(PeerUrl { tls, authority, host })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart_or_refused() {
        let found = parse("https://[::1]:2380").unwrap();
        assert_eq!((found.tls, found.authority, found.host), (true, "[::1]:2380", "::1"));
        assert_eq!(parse("http://a:1/").unwrap().authority, "a:1");
        for bad in ["", "a:1", "http://a", "http://:1", "http://a:x", "http://a:1/path", "unix://a:1"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
