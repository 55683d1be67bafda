//! Links, addresses and routes through rtnetlink.

use crate::failure::{Attempt, Failure, Result};
use futures::TryStreamExt;
use rtnetlink::{
    Handle, LinkBridge, LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::RawFd;

/// A netlink connection; its driving task ends when the value is dropped.
pub(crate) struct Netlink {
    handle: Handle,
    driver: tokio::task::JoinHandle<()>,
}

impl Netlink {
    /// Connects in the network namespace of the calling thread.
    pub(crate) fn connect() -> Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection().attempt("opening a netlink socket")?;
        #[allow(
            clippy::disallowed_methods,
            reason = "ends with the handle, which this value owns and aborts on drop"
        )]
        let driver = tokio::spawn(connection);
        Ok(Self { handle, driver })
    }

    /// The index of a link, if it exists.
    pub(crate) async fn index(&self, name: &str) -> Result<Option<u32>> {
        let mut found = self.handle.link().get().match_name(name.to_owned()).execute();
        match found.try_next().await {
            Ok(link) => Ok(link.map(|link| link.header.index)),
            Err(rtnetlink::Error::NetlinkError(message)) if is_absent(message.raw_code()) => Ok(None),
            Err(error) => Err(error).attempt_with(|| format!("looking for link {name}")),
        }
    }

    async fn expect_index(&self, name: &str) -> Result<u32> {
        self.index(name).await?.ok_or_else(|| Failure::internal(format!("link {name} is missing")))
    }

    /// Makes the bridge with its address, if it is not there, and brings it up.
    pub(crate) async fn ensure_bridge(&self, name: &str, address: Ipv4Addr, prefix: u8) -> Result<()> {
        if self.index(name).await?.is_none() {
            let message = LinkBridge::new(name).build();
            self.handle
                .link()
                .add(message)
                .execute()
                .await
                .attempt_with(|| format!("making bridge {name}"))?;
        }
        let index = self.expect_index(name).await?;
        self.handle
            .address()
            .add(index, IpAddr::V4(address), prefix)
            .replace()
            .execute()
            .await
            .attempt_with(|| format!("giving bridge {name} the address {address}/{prefix}"))?;
        self.up(index).await
    }

    /// Routes a network to a link, unless the node has a route that leads there.
    pub(crate) async fn ensure_route(&self, network: ipnet::Ipv4Net, link: &str) -> Result<()> {
        let index = self.expect_index(link).await?;
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(network.network(), network.prefix_len())
            .output_interface(index)
            .scope(rtnetlink::packet_route::route::RouteScope::Link)
            .build();
        let add = self.handle.route().add(route).replace();
        add.execute().await.attempt_with(|| format!("routing {network} to {link}"))
    }

    /// Makes a veth pair; both ends are in this namespace.
    pub(crate) async fn add_veth(&self, name: &str, peer: &str) -> Result<()> {
        let message = LinkVeth::new(name, peer).build();
        self.handle
            .link()
            .add(message)
            .execute()
            .await
            .attempt_with(|| format!("making the link pair {name}/{peer}"))
    }

    /// Moves a link into another namespace.
    pub(crate) async fn move_to(&self, name: &str, netns: RawFd) -> Result<()> {
        let index = self.expect_index(name).await?;
        let message = LinkUnspec::new_with_index(index).setns_by_fd(netns).build();
        self.handle.link().set(message).execute().await.attempt_with(|| format!("moving link {name}"))
    }

    /// Puts a link on a bridge, with hairpin so that a pod reaches itself through a Service, and brings it up.
    pub(crate) async fn attach(&self, name: &str, bridge: &str) -> Result<()> {
        let (index, bridge) = (self.expect_index(name).await?, self.expect_index(bridge).await?);
        let message = LinkUnspec::new_with_index(index).controller(bridge).up().build();
        self.handle
            .link()
            .set(message)
            .execute()
            .await
            .attempt_with(|| format!("putting {name} on the bridge"))?;
        let port = LinkBridgePort::new(index).hairpin(true).build();
        self.handle
            .link()
            .set_port(port)
            .execute()
            .await
            .attempt_with(|| format!("setting hairpin on {name}"))
    }

    async fn up(&self, index: u32) -> Result<()> {
        let message: LinkMessageBuilder<LinkUnspec> = LinkUnspec::new_with_index(index);
        self.handle.link().set(message.up().build()).execute().await.attempt("bringing a link up")
    }

    /// Brings up loopback and `name` with its address and a default route.
    pub(crate) async fn configure(
        &self,
        name: &str,
        address: Ipv4Addr,
        prefix: u8,
        gateway: Ipv4Addr,
    ) -> Result<()> {
        let loopback = self.expect_index("lo").await?;
        self.up(loopback).await?;
        let index = self.expect_index(name).await?;
        let add = self.handle.address().add(index, IpAddr::V4(address), prefix);
        add.execute().await.attempt_with(|| format!("giving {name} the address {address}/{prefix}"))?;
        self.up(index).await?;
        let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).output_interface(index).build();
        self.handle.route().add(route).execute().await.attempt("setting the default route")
    }

    /// Removes a link; absent is fine.
    pub(crate) async fn remove(&self, name: &str) -> Result<()> {
        let Some(index) = self.index(name).await? else { return Ok(()) };
        match self.handle.link().del(index).execute().await {
            Err(rtnetlink::Error::NetlinkError(message)) if is_absent(message.raw_code()) => Ok(()),
            other => other.attempt_with(|| format!("removing link {name}")),
        }
    }
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// ENODEV and ENXIO: there is no such link (any more).
fn is_absent(code: i32) -> bool {
    let code = -code;
    code == nix::errno::Errno::ENODEV as i32 || code == nix::errno::Errno::ENXIO as i32
}
