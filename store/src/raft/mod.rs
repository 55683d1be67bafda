//! Consensus: openraft over our own log file, and the state machine that hands committed entries to the apply thread.
//!
//! openraft's API changes between versions; nothing of it leaves this folder.
mod applier;
mod changes;
mod entry;
pub(crate) mod identity;
mod leadership;
pub(crate) mod log;
mod machine;
mod member;
mod membership;
mod network;
mod types;

pub(crate) use applier::{Applier, ApplyQueue};
pub(crate) use changes::Change;
pub(crate) use member::{Member, MemberConfig};
pub(crate) use types::MemberNode;
