//! The other members: links to them, and the links that they open to us.
mod appends;
mod client;
mod join;
mod peer;
mod server;
mod session;

pub(crate) use appends::{Answers, Append};
pub(crate) use client::Network;
pub(crate) use join::ask_for_members;
pub(crate) use peer::{CallError, Local, PeerEvent, Peers};
pub(crate) use server::{Answer, Answerer, From, Server};
pub(crate) use session::{Answering, Session};
