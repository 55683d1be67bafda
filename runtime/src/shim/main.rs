//! Entry of the shim process. Runs before any thread exists.

use super::packets;
use super::pause;
use super::protocol::{CONFIG, LOCK, SOCKET, ShimConfig};
use super::server::Server;
use crate::config::namespace_pin;
use crate::durable::{self, Lock};
use crate::failure::{Attempt, Failure, Result};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// The hidden subcommand that makes the executable a shim.
pub const SUBCOMMAND: &str = "runtime-shim";
/// The shim dies last when memory is short: it knows how everything ended.
const OOM_SCORE: &str = "-998";

/// Runs a shim, or a pause process, until it is told to end. `args` come behind [`SUBCOMMAND`].
pub fn main(args: &[OsString]) -> ExitCode {
    let Some(argument) = args.first() else {
        complain("the shim needs a directory");
        return ExitCode::from(2);
    };
    if argument == pause::ARGUMENT {
        return pause::main();
    }
    match run(Path::new(argument)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(&failure.chain());
            ExitCode::FAILURE
        }
    }
}

/// Writes a line to standard error, which is the shim's log file.
pub(super) fn complain(text: &str) {
    let _ok = writeln!(std::io::stderr(), "{} {text}", super::protocol::now());
}

fn run(dir: &Path) -> Result<()> {
    std::env::set_current_dir(dir).attempt("entering the shim's directory")?;
    let bytes = durable::read(Path::new(CONFIG), 1 << 16).attempt("reading the shim's settings")?;
    let bytes = bytes.ok_or_else(|| Failure::internal("the shim has no settings"))?;
    let config: ShimConfig = serde_json::from_slice(&bytes).attempt("parsing the shim's settings")?;
    if config.version != 1 {
        return Err(Failure::internal(format!(
            "the shim's settings have version {}, wanted 1",
            config.version
        )));
    }
    let _lock = Lock::try_exclusive(Path::new(LOCK))
        .attempt("locking the shim's directory")?
        .ok_or_else(|| Failure::precondition("another shim serves this pod"))?;
    nix::unistd::setsid().attempt("starting a session")?;
    nix::sys::prctl::set_child_subreaper(true).attempt("becoming the parent of orphans")?;
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE) {
        complain(&format!("setting the OOM score: {error}"));
    }
    let signals = take_signals()?;
    if config.shared_pid {
        let pause = pause::spawn()?;
        let pin = namespace_pin(Path::new("."), "pid");
        std::fs::File::create(&pin).attempt("making the pin file")?;
        rustix::mount::mount_bind(format!("/proc/{pause}/ns/pid"), &pin)
            .attempt("pinning the process namespace")?;
    }
    let listener = packets::listen(Path::new("."), SOCKET, rustix::net::SocketType::SEQPACKET)
        .attempt("opening the socket")?;
    announce()?;
    Server::new(listener, signals).run()
}

/// All signals that could end the shim become readable instead. Only SIGKILL and a request end it.
fn take_signals() -> Result<SignalFd> {
    let mut set = SigSet::empty();
    for signal in [
        Signal::SIGCHLD,
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGQUIT,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGALRM,
    ] {
        set.add(signal);
    }
    set.thread_block().attempt("blocking signals")?;
    SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC).attempt("opening the signals")
}

/// Tells the daemon, which waits at our standard output, and lets go of it.
fn announce() -> Result<()> {
    let mut out = std::io::stdout();
    out.write_all(b"ready\n").and_then(|()| out.flush()).attempt("telling the daemon")?;
    let null = std::fs::OpenOptions::new().write(true).open("/dev/null").attempt("opening /dev/null")?;
    nix::unistd::dup2_stdout(&null).attempt("closing the standard output")
}
