//! `mainstay install` and `uninstall`: a daemon as a service of systemd.

mod files;
mod install;
mod text;
mod uninstall;

pub(crate) use install::{InstallFlags, install};
pub(crate) use uninstall::{UninstallFlags, uninstall};
