//! Where a command's settings come from: flags, then `MAINSTAY_*` variables, then the configuration file, then defaults.
//!
//! The three have the same names: `--node-name`, `MAINSTAY_NODE_NAME`, `node-name:`. Nothing here knows a setting by name
//! but the one that is secret: a flag that is added to a command can be set in all three ways.

mod file;
mod layers;
mod show;

pub(crate) use file::CONFIG_FILE;
pub(crate) use layers::{Settled, settle};
pub(crate) use show::{ConfigCommand, OfCommand, print, value};
