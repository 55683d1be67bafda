//! Kinds of the core group.

pub(crate) mod config_map;
pub(crate) mod endpoints;
pub(crate) mod event;
mod key_pair;
pub(crate) mod limit_range;
pub(crate) mod namespace;
pub(crate) mod node;
pub(crate) mod pod;
pub(crate) mod pod_template;
pub(crate) mod replication_controller;
pub(crate) mod resource_quota;
pub(crate) mod secret;
pub(crate) mod service;
pub(crate) mod service_account;
pub(crate) mod volume;
