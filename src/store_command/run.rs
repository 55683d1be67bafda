//! Which part of `mainstay store` is asked for.

use super::flags::{StoreCommand, StoreFlags};
use super::{migrate, serve, status};

/// Runs the server, or a question to running ones.
///
/// # Errors
/// A refusal before anything was changed, or a server that could not start.
pub(crate) fn run(flags: &StoreFlags) -> anyhow::Result<()> {
    match &flags.command {
        None => serve::run(&flags.serve),
        Some(StoreCommand::Status(flags)) => status::run(flags),
        Some(StoreCommand::Migrate(flags)) => migrate::run(flags),
    }
}
