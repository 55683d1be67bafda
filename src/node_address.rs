//! Which of this machine's addresses is the node's.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use crate::refusal::refuse;

/// The address that pods and other nodes reach this node at.
///
/// An explicit `--bind` address wins; else the source address of the default route (asking sends no packet);
/// on a machine without one, the pods' gateway, which this node always has.
pub(crate) fn node_ip(bind: SocketAddr, gateway: Ipv4Addr) -> IpAddr {
    let explicit = bind.ip();
    if !explicit.is_unspecified() && !explicit.is_loopback() {
        return explicit;
    }
    default_route_source().unwrap_or(IpAddr::V4(gateway))
}

/// The address that packets to `server` leave from: where other machines of its network reach this one.
///
/// # Errors
/// There is no way to it.
pub(crate) fn towards(server: SocketAddr) -> anyhow::Result<IpAddr> {
    let unspecified: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { std::net::Ipv6Addr::UNSPECIFIED.into() };
    let found = UdpSocket::bind((unspecified, 0)).and_then(|socket| {
        socket.connect(server)?; // sends no packet
        socket.local_addr()
    });
    let found = found.map_err(|error| refuse(format!("this machine has no way to {server}: {error}")))?;
    Ok(found.ip())
}

/// The address of a server that others join: explicit, or the source address of the default route.
///
/// # Errors
/// There is none, or the one that is given leads nowhere but here.
pub(crate) fn of_server(given: Option<IpAddr>, bind: SocketAddr) -> anyhow::Result<IpAddr> {
    given.map_or(Ok(()), reachable)?;
    let explicit = Some(bind.ip()).filter(|ip| !ip.is_unspecified() && !ip.is_loopback());
    given.or(explicit).or_else(default_route_source).ok_or_else(|| {
        refuse("this machine has no default route to find its address by: give it with --node-ip")
    })
}

/// Refuses an address that no other machine can reach this one at.
///
/// # Errors
/// It is one.
pub(crate) fn reachable(ip: IpAddr) -> anyhow::Result<()> {
    if ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() {
        return Err(refuse(format!(
            "--node-ip {ip} leads no other machine here: give this machine's address on their network"
        )));
    }
    Ok(())
}

fn default_route_source() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(203, 0, 113, 1), 9)).ok()?; // RFC 5737 documentation range, never contacted
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explicit_address_is_the_nodes() {
        let ip = node_ip("10.9.8.7:6443".parse().unwrap(), Ipv4Addr::new(10, 42, 0, 1));
        assert_eq!(ip.to_string(), "10.9.8.7");
    }

    #[test]
    fn an_address_that_leads_nowhere_is_refused() {
        let bind = "0.0.0.0:6443".parse().unwrap();
        for ip in ["127.0.0.1", "0.0.0.0", "224.0.0.1", "::1"] {
            let error = of_server(Some(ip.parse().unwrap()), bind).unwrap_err().to_string();
            assert!(error.starts_with(&format!("--node-ip {ip} leads no other machine here")), "{error}");
        }
        assert_eq!(of_server(Some("192.0.2.1".parse().unwrap()), bind).unwrap().to_string(), "192.0.2.1");
    }
}
