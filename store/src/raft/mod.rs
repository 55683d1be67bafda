//! Consensus: openraft over our own log file, and the state machine that hands committed entries to the apply thread.
//!
//! openraft's API changes between versions; nothing of it leaves this folder.
mod answers;
mod applier;
mod apply_queue;
mod caller;
mod changes;
pub(crate) mod committed;
mod desk;
mod entry;
mod forwarded;
pub(crate) mod identity;
mod leadership;
mod leases;
pub(crate) mod log;
mod machine;
mod member;
mod membership;
mod membership_changes;
pub(crate) mod peers;
mod proposals;
mod propose;
mod pulse;
mod reads;
mod replay;
pub(crate) mod restored;
mod room;
mod shortcut;
mod types;
mod watchdog;
mod wire;

pub(crate) use applier::Applier;
pub(crate) use apply_queue::ApplyQueue;
pub(crate) use changes::Change;
pub(crate) use desk::Desk;
pub(crate) use forwarded::Forwarded;
pub(crate) use machine::Machine;
pub(crate) use member::{Cluster, Member, MemberConfig};
pub(crate) use membership::members_of;
pub(crate) use proposals::Proposals;
pub(crate) use replay::Replay;
pub(crate) use shortcut::Shortcut;
pub(crate) use types::MemberNode;
#[cfg(any(test, fuzzing))]
pub(crate) use wire::{Hello, Reply as WireReply, Request as WireRequest, Welcome};
