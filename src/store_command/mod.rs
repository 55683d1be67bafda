//! `mainstay store`: the store alone, for etcd's clients, under etcd's flags.

mod client;
mod durations;
mod flags;
mod serve;
mod status;

pub(crate) use flags::{StoreCommand, StoreFlags};

/// Runs the server, or a question to running ones.
///
/// # Errors
/// A refusal before anything was changed, or a server that could not start.
pub(crate) fn run(flags: &StoreFlags) -> anyhow::Result<()> {
    match &flags.command {
        None => serve::run(&flags.serve),
        Some(StoreCommand::Status(flags)) => status::run(flags),
    }
}
