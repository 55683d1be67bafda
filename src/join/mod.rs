//! How machines join a cluster: `mainstay agent --join` and `mainstay server --join`, and what servers answer them.
//!
//! A joining machine knows the address of one server and a token. The token pins the cluster's authority, so that no
//! stranger in between learns anything; every refusal is one line and leaves both sides as they were.

mod agent;
mod checks;
mod claim;
mod desk;
mod files;
mod invitation;
mod node;
mod pinned;
mod rejoin;
mod same_cluster;
mod server;
mod wire;

pub(crate) use agent::{join_as_agent, rejoin_as_agent};
pub(crate) use desk::{Desk, SERVERS, json, require_master};
pub(crate) use files::pem;
pub(crate) use invitation::Invitation;
pub(crate) use node::renew;
pub(crate) use rejoin::{Superseded, other_servers, rejoin, superseded};
pub(crate) use same_cluster::check_same_cluster;
pub(crate) use server::Joiner;
pub(crate) use server::join_as_server;
pub(crate) use wire::{MemberList, MemberState, Peer, open, seal};
