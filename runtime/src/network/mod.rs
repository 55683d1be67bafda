//! Pod network: a bridge on the node, a veth pair per sandbox, addresses from this node's pod CIDR, and one nft table
//! for masquerading and host ports. Everything is named after the cluster and removed by [`Network::remove_all`].

mod addresses;
mod bridge;
mod netns;
mod rules;
mod sandbox;

pub(crate) use addresses::Addresses;
pub(crate) use netns::{Pins, in_namespaces, open_pin, pin_namespaces, unpin};
pub(crate) use rules::HostPort;
pub(crate) use sandbox::Network;
