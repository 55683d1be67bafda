//! Checks and generators for those who work on Mainstay: `cargo xtask --help`.

mod codegen;
mod layers;
mod tidy;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};

/// Checks and generators for those who work on Mainstay.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Checks sizes, names, headers and left-over notes in every source file.
    Tidy,
    /// Checks that crates depend only downwards, as docs/layers.toml allows.
    Layers,
    /// Makes the schema table of the API server from the facts beside it.
    Codegen {
        /// Only tell whether the table is current.
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(problems) if problems.is_empty() => ExitCode::SUCCESS,
        Ok(problems) => {
            for problem in &problems {
                eprintln!("{problem}");
            }
            eprintln!("{} problem(s)", problems.len());
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<Vec<String>> {
    let root = root()?;
    match arguments.task {
        Task::Tidy => tidy::check(&root),
        Task::Layers => layers::check(&root),
        Task::Codegen { check } => codegen::run(&root, check),
    }
}

/// The workspace's folder: the parent of this package's.
fn root() -> anyhow::Result<PathBuf> {
    // Asked when it runs: checkouts that share a build cache share this program too.
    let own = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let own = own.context("CARGO_MANIFEST_DIR is not set: run it as `cargo xtask`")?;
    own.parent().map(PathBuf::from).context("xtask has no parent folder")
}
