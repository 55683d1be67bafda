//! The kernel's routing table, as far as it is ours.

use std::net::Ipv4Addr;

use futures::TryStreamExt as _;
use ipnet::Ipv4Net;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol};
use rtnetlink::{Handle, RouteMessageBuilder};

use super::Routes;

/// The mark of our routes (`ip route show proto 77`); nothing that is registered in iproute2.
const MARK: RouteProtocol = RouteProtocol::Other(77);

/// What the kernel refused.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// No socket.
    #[error("opening a netlink socket")]
    Open(#[source] std::io::Error),
    /// The list.
    #[error("reading the routes")]
    Read(#[source] rtnetlink::Error),
    /// A route that could not be set.
    #[error("routing {range} via {via} (the nodes must be on one network)")]
    Set {
        /// The pods.
        range: Ipv4Net,
        /// Their node.
        via: Ipv4Addr,
        /// The kernel's answer.
        #[source]
        source: rtnetlink::Error,
    },
    /// A route that could not be removed.
    #[error("removing the route to {range}")]
    Remove {
        /// The pods.
        range: Ipv4Net,
        /// The kernel's answer.
        #[source]
        source: rtnetlink::Error,
    },
}

/// The routing table of this network namespace; closed when dropped.
pub(super) struct Table {
    handle: Handle,
    driver: tokio::task::JoinHandle<()>,
}

impl Table {
    pub(super) fn open() -> Result<Self, RouteError> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(RouteError::Open)?;
        #[allow(
            clippy::disallowed_methods,
            reason = "ends with the handle, which this value owns and aborts on drop"
        )]
        let driver = tokio::spawn(connection);
        Ok(Self { handle, driver })
    }

    /// Our routes into `cluster_cidr`.
    pub(super) async fn present(&self, cluster_cidr: Ipv4Net) -> Result<Routes, RouteError> {
        let all = self.handle.route().get(RouteMessageBuilder::<Ipv4Addr>::new().build()).execute();
        let all: Vec<RouteMessage> = all.try_collect().await.map_err(RouteError::Read)?;
        Ok(all.iter().filter_map(ours).filter(|(range, _)| cluster_cidr.contains(range)).collect())
    }

    pub(super) async fn set(&self, range: Ipv4Net, via: Ipv4Addr) -> Result<(), RouteError> {
        let add = self.handle.route().add(route(range, via)).replace();
        add.execute().await.map_err(|source| RouteError::Set { range, via, source })
    }

    pub(super) async fn unset(&self, range: Ipv4Net, via: Ipv4Addr) -> Result<(), RouteError> {
        let gone = self.handle.route().del(route(range, via)).execute().await;
        gone.map_err(|source| RouteError::Remove { range, source })
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Removes our routes into `cluster_cidr`.
///
/// # Errors
/// The kernel's.
pub async fn remove(cluster_cidr: Ipv4Net) -> Result<(), RouteError> {
    let table = Table::open()?;
    for (range, via) in table.present(cluster_cidr).await? {
        table.unset(range, via).await?;
    }
    Ok(())
}

fn route(range: Ipv4Net, via: Ipv4Addr) -> RouteMessage {
    RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(range.network(), range.prefix_len())
        .gateway(via)
        .protocol(MARK)
        .build()
}

fn ours(message: &RouteMessage) -> Option<(Ipv4Net, Ipv4Addr)> {
    if message.header.protocol != MARK {
        return None;
    }
    let (mut range, mut via) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(ip)) => range = Some(*ip),
            RouteAttribute::Gateway(RouteAddress::Inet(ip)) => via = Some(*ip),
            _ => {}
        }
    }
    Some((Ipv4Net::new(range?, message.header.destination_prefix_length).ok()?, via?))
}
