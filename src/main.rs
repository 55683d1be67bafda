//! `mainstay`: a complete Kubernetes in one binary. This crate only assembles the parts; see docs/ARCHITECTURE.md.

mod agent;
mod agent_files;
mod agent_renewal;
mod api_server;
mod apiserver_command;
mod assemble;
mod authority;
mod certs_command;
mod check_command;
mod cli;
mod clients;
mod cluster_objects;
mod config;
mod data_dir;
mod down;
mod encryption;
mod identities;
mod image;
mod join;
mod kubeconfig;
mod mandate;
mod membership;
mod node_address;
mod notices;
mod preflight;
mod recover;
mod refusal;
mod renewal;
mod server;
mod settings;
mod snapshot_command;
mod snapshots;
mod stale_reads;
mod status;
mod store_command;
mod store_metrics;
mod support;
mod token;
mod traces;
mod unit;
mod up;
mod versions;

use std::process::ExitCode;

use crate::cli::{Arguments, Command};
use crate::refusal::report;
use crate::settings::{ConfigCommand, settle};

/// Links mimalloc, whose `malloc` and `free` stand in for the C library's: Rust and RocksDB both call them. A put costs the
/// store 7 to 20 % less than with glibc's (docs/decisions/0031); it is no `global_allocator` (docs/decisions/0069).
#[used]
static ALLOCATOR: &(dyn std::alloc::GlobalAlloc + Sync) = &mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The shim and the container helper must not share a process with threads, so they branch off first.
    let arguments: Vec<_> = std::env::args_os().collect();
    match arguments.get(1).and_then(|word| word.to_str()) {
        Some(mainstay_runtime::SHIM_COMMAND) => return mainstay_runtime::shim::main(&arguments[2..]),
        Some(mainstay_runtime::OCI_COMMAND) => {
            // Our allocator keeps to small pages by a switch that children inherit; containers get the machine's setting.
            if let Err(error) = rustix::thread::disable_transparent_huge_pages(false) {
                return report(&anyhow::Error::new(error).context("allowing huge pages in containers"));
            }
            return mainstay_runtime::oci::main(&arguments[2..]);
        }
        _ => {}
    }
    match settle(&arguments).and_then(|settled| run(settled.arguments()?)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.command {
        Command::Up(flags) => up::run(&flags),
        Command::Server(flags) => server::run(&flags),
        Command::Agent(flags) => agent::run(&flags),
        Command::Token(command) => token::run(&command),
        Command::Down(flags) => down::run(&flags),
        Command::Image(command) => image::run(&command),
        Command::Status(flags) => status::run(&flags),
        Command::Support(flags) => support::run(&flags),
        Command::Config(ConfigCommand::Print(of)) => settings::print(&of.settle()?),
        Command::Check(of) => check_command::run(&of.settle()?),
        Command::Install(flags) => unit::install(&flags, &flags.of.settle()?),
        Command::Uninstall(flags) => unit::uninstall(&flags),
        Command::Certs(command) => certs_command::run(&command),
        Command::Apiserver(flags) => apiserver_command::run(*flags),
        Command::Store(flags) => store_command::run(&flags),
        Command::Snapshot(command) => snapshot_command::run(&command),
        Command::Version => up::print_line(&format!("mainstay {}", mainstay_base::version())),
    }
}
