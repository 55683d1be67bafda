//! Tokens with which machines join: bootstrap tokens of Kubernetes that also pin the cluster's authority.

mod command;
mod form;
mod secret;

pub(crate) use command::{ClusterFlags, TokenCommand, run};
pub(crate) use form::JoinToken;
pub(crate) use secret::{Class, printed_at_start, server_token};
