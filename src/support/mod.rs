//! `mainstay support`: what a maintainer needs to see of a cluster, in one archive, without its secrets.

mod archive;
mod command;
mod scrub;

pub(crate) use command::{SupportFlags, run};
