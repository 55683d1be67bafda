//! `mainstay store`: the store alone, for etcd's clients, under etcd's flags.

mod client;
mod durations;
mod flags;
mod migrate;
mod not_built;
mod peers;
mod run;
mod serve;
mod status;

pub(crate) use client::connect;
pub(crate) use durations::parse as parse_duration;
pub(crate) use flags::{StatusFlags, StoreFlags};
pub(crate) use peers::founders;
pub(crate) use run::run;
