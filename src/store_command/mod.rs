//! `mainstay store`: the store alone, for etcd's clients, under etcd's flags.

mod client;
mod flags;
mod go_values;
mod migrate;
mod not_built;
mod peers;
mod run;
mod serve;
mod status;

pub(crate) use client::connect;
pub(crate) use flags::{StatusFlags, StoreFlags};
pub(crate) use go_values::duration as parse_duration;
pub(crate) use peers::founders;
pub(crate) use run::run;
