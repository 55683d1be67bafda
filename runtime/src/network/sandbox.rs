//! A sandbox's way to the network: set up, given back, and everything of the cluster removed.

use super::addresses::Addresses;
use super::bridge::Netlink;
use super::netns::{in_namespaces, open_pin, own_netns};
use super::rules::{self, HostPort};
use crate::config::Config;
use crate::failure::{Attempt, Result};
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::path::Path;

/// The name of a pod's interface inside the pod.
const POD_INTERFACE: &str = "eth0";

/// The pod network of one node.
#[derive(Debug)]
pub(crate) struct Network {
    config: Config,
    addresses: Addresses,
    /// Loads of single elements must not overtake each other.
    rules: tokio::sync::Mutex<()>,
}

impl Network {
    /// Makes bridge, forwarding and rules as they should be, whatever was there. `ports` are those of the sandboxes
    /// that live on.
    pub(crate) async fn open(
        config: Config,
        addresses: Addresses,
        ports: &[(Ipv4Addr, HostPort)],
    ) -> Result<Self> {
        let bridge = config.bridge();
        let netlink = Netlink::connect()?;
        netlink.ensure_bridge(&bridge, addresses.gateway(), addresses.prefix()).await?;
        for route in &config.host_routes {
            netlink.ensure_route(*route, &bridge).await?;
        }
        for (path, what) in [
            ("/proc/sys/net/ipv4/ip_forward".to_owned(), "IPv4 forwarding"),
            (
                format!("/proc/sys/net/ipv4/conf/{bridge}/route_localnet"),
                "host ports on the loopback address",
            ),
        ] {
            std::fs::write(&path, "1").attempt_with(|| format!("allowing {what} ({path})"))?;
        }
        rules::load(&rules::render_table(&config, ports)).await?;
        Ok(Self { config, addresses, rules: tokio::sync::Mutex::new(()) })
    }

    /// Connects the pinned namespace of a sandbox. Returns its address.
    pub(crate) async fn connect(
        &self,
        sandbox: &str,
        run_dir: &Path,
        ports: &[HostPort],
    ) -> Result<Ipv4Addr> {
        let address = self.addresses.allocate(sandbox)?;
        let (gateway, prefix) = (self.addresses.gateway(), self.addresses.prefix());
        let veth = self.config.veth(sandbox);
        let (netns, host, name) =
            (open_pin(run_dir)?, File::open(own_netns()).attempt("opening our namespace")?, veth.clone());
        let inside = move || async move {
            let netlink = Netlink::connect()?;
            netlink.add_veth(POD_INTERFACE, &name).await?;
            netlink.move_to(&name, host.as_raw_fd()).await?;
            netlink.configure(POD_INTERFACE, address, prefix, gateway).await
        };
        tokio::task::spawn_blocking(move || in_namespaces(netns, inside))
            .await
            .attempt("waiting for the network")??;
        let netlink = Netlink::connect()?;
        netlink.attach(&veth, &self.config.bridge()).await?;
        if !ports.is_empty() {
            let _turn = self.rules.lock().await;
            rules::load(&rules::render_add(&self.config, address, ports)).await?;
        }
        Ok(address)
    }

    /// Takes a sandbox off the network and gives its address back. May be repeated.
    pub(crate) async fn disconnect(
        &self,
        sandbox: &str,
        address: Option<Ipv4Addr>,
        ports: &[HostPort],
    ) -> Result<()> {
        if let Some(address) = address
            && !ports.is_empty()
        {
            let _turn = self.rules.lock().await;
            if let Err(failure) = rules::load(&rules::render_delete(&self.config, address, ports)).await {
                // A repeated disconnect finds them gone already.
                tracing::debug!(sandbox, error = failure.chain(), "host ports were not removed");
            }
        }
        let netlink = Netlink::connect()?;
        netlink.remove(&self.config.veth(sandbox)).await?;
        self.addresses.release(sandbox)
    }

    /// Removes rules and bridge of the cluster.
    pub(crate) async fn remove_all(config: &Config) -> Result<()> {
        rules::load(&rules::render_removal(config)).await?;
        Netlink::connect()?.remove(&config.bridge()).await
    }

    /// Removes the host's end of a sandbox's link.
    pub(crate) async fn remove_link(config: &Config, sandbox: &str) -> Result<()> {
        Netlink::connect()?.remove(&config.veth(sandbox)).await
    }
}
