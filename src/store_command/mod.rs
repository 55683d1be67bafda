//! `mainstay store`: the store alone, for etcd's clients, under etcd's flags.

mod client;
mod durations;
mod flags;
mod peers;
mod run;
mod serve;
mod status;

pub(crate) use flags::StoreFlags;
pub(crate) use run::run;
