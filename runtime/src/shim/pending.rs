//! A run or exec that a helper process is working on.

use super::container::Channels;
use super::log::LogFile;
use super::packets;
use super::protocol::{Op, RunContainer, RunExec};
use crate::durable;
use crate::failure::{Attempt, Failure, Result};
use crate::oci::{HelperRequest, HelperResult};
use rustix::pipe::{PipeFlags, pipe_with};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const CONSOLE: &str = "console.sock";
const RESULT_BYTES_MAX: u64 = 64 << 10;

/// What was asked for.
pub(super) enum Wanted {
    Run { settings: RunContainer, channels: Channels, log: Option<LogFile> },
    Exec(RunExec),
}

/// An operation whose helper still works.
pub(super) struct Pending {
    pub(super) helper: i32,
    pub(super) connection: u64,
    pub(super) request: u64,
    /// Taken when the helper is done.
    pub(super) wanted: Option<Wanted>,
    console: Option<OwnedFd>,
    dir: PathBuf,
    result: PathBuf,
}

impl Pending {
    /// Opens pipes and log and starts the helper for a container.
    pub(super) fn run(settings: RunContainer, origin: (u64, u64)) -> Result<Self> {
        let log = match &settings.log {
            Some(path) => Some(
                LogFile::open(path, settings.log_limits)
                    .attempt_with(|| format!("opening the log {}", path.display()))?,
            ),
            None => None,
        };
        let dir = settings.bundle.clone();
        let mut channels = Channels { stdout: None, stderr: None, stdin: None, master: None };
        let mut ends: [Option<OwnedFd>; 3] = [None, None, None];
        if !settings.tty {
            let (read, write) = output_pipe()?;
            (channels.stdout, ends[1]) = (Some(read), Some(write));
            let (read, write) = output_pipe()?;
            (channels.stderr, ends[2]) = (Some(read), Some(write));
            if settings.stdin {
                let (read, write) = pipe_with(PipeFlags::CLOEXEC).attempt("making the input pipe")?;
                (ends[0], channels.stdin) = (Some(read), Some(write));
            }
        }
        let result = dir.join("run-result.json");
        let request = HelperRequest {
            container: settings.container.clone(),
            bundle: settings.bundle.clone(),
            state_root: settings.state_root.clone(),
            console: settings.tty.then(|| dir.join(CONSOLE)),
            result: result.clone(),
            exec_arguments: None,
        };
        let console = start_console(&dir, settings.tty)?;
        let helper = start_helper(&request, &dir.join("run-request.json"), ends)?;
        let wanted = Some(Wanted::Run { settings, channels, log });
        Ok(Self { helper, connection: origin.0, request: origin.1, wanted, console, dir, result })
    }

    /// Starts the helper for a command; `fds` are its streams as far as wanted.
    pub(super) fn exec(settings: RunExec, fds: Vec<OwnedFd>, origin: (u64, u64)) -> Result<Self> {
        let dir = settings.arguments.parent().map(Path::to_owned).unwrap_or_default();
        let mut fds = fds.into_iter();
        let wanted = [settings.stdin, settings.stdout, settings.stderr];
        let mut ends: [Option<OwnedFd>; 3] = [None, None, None];
        if !settings.tty {
            for (end, wanted) in ends.iter_mut().zip(wanted) {
                if wanted {
                    *end = Some(
                        fds.next().ok_or_else(|| Failure::invalid("a stream of the command is missing"))?,
                    );
                }
            }
        }
        let result = dir.join("result.json");
        let request = HelperRequest {
            container: settings.container.clone(),
            bundle: settings.bundle.clone(),
            state_root: settings.state_root.clone(),
            console: settings.tty.then(|| dir.join(CONSOLE)),
            result: result.clone(),
            exec_arguments: Some(settings.arguments.clone()),
        };
        let console = start_console(&dir, settings.tty)?;
        let helper = start_helper(&request, &dir.join("request.json"), ends)?;
        let wanted = Some(Wanted::Exec(settings));
        Ok(Self { helper, connection: origin.0, request: origin.1, wanted, console, dir, result })
    }

    /// What the helper wrote; it has ended.
    pub(super) fn result(&self) -> Result<i32> {
        let bytes = durable::read(&self.result, RESULT_BYTES_MAX).attempt("reading the helper's result")?;
        let bytes = bytes.ok_or_else(|| Failure::internal("the container helper died without a result"))?;
        match serde_json::from_slice(&bytes).attempt("parsing the helper's result")? {
            HelperResult::Started { pid } => Ok(pid),
            HelperResult::Failed { message } => Err(Failure::internal(message)),
        }
    }

    /// The terminal that the process got.
    pub(super) fn master(&mut self) -> Result<Option<OwnedFd>> {
        let Some(listener) = self.console.take() else { return Ok(None) };
        let stream = packets::accept(&listener)
            .attempt("taking the terminal")?
            .ok_or_else(|| Failure::internal("the process brought no terminal"))?;
        let fds = packets::receive_fds(&stream).attempt("taking the terminal")?;
        let master =
            fds.into_iter().next().ok_or_else(|| Failure::internal("the process brought no terminal"))?;
        rustix::io::ioctl_fionbio(&master, true).attempt("preparing the terminal")?;
        Ok(Some(master))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        for name in [CONSOLE, "run-request.json", "request.json"] {
            drop(durable::remove_file(&self.dir.join(name)));
        }
        drop(durable::remove_file(&self.result));
    }
}

fn output_pipe() -> Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).attempt("making an output pipe")?;
    rustix::io::ioctl_fionbio(&read, true).attempt("preparing an output pipe")?;
    Ok((read, write))
}

fn start_console(dir: &Path, wanted: bool) -> Result<Option<OwnedFd>> {
    if !wanted {
        return Ok(None);
    }
    packets::listen(dir, CONSOLE, rustix::net::SocketType::STREAM)
        .attempt("waiting for the terminal")
        .map(Some)
}

/// The helper's own streams are the process's: it hands them on without knowing.
fn start_helper(request: &HelperRequest, path: &Path, ends: [Option<OwnedFd>; 3]) -> Result<i32> {
    drop(durable::remove_file(&request.result));
    let bytes = serde_json::to_vec(request).attempt("writing the helper's request")?;
    durable::replace(path, &bytes, durable::Sync::No).attempt("writing the helper's request")?;
    let [stdin, stdout, stderr] = ends.map(|end| end.map_or_else(Stdio::null, Stdio::from));
    let child = Command::new("/proc/self/exe")
        .arg(crate::oci::SUBCOMMAND)
        .arg(path)
        .env_clear()
        .stdin(stdin)
        .stdout(stdout)
        .stderr(stderr)
        .spawn()
        .attempt("starting the container helper")?;
    i32::try_from(child.id()).attempt("reading the helper's process id")
}

/// A request in a word, for errors.
pub(super) fn describe(op: &Op) -> &'static str {
    match op {
        Op::Run(_) => "run",
        Op::Exec(_) => "exec",
        Op::Signal { .. } => "signal",
        Op::Resize { .. } => "resize",
        Op::Attach { .. } => "attach",
        Op::CloseStdin { .. } => "close stdin",
        Op::ReopenLog { .. } => "reopen log",
        Op::Forget { .. } => "forget",
        Op::List => "list",
        Op::Shutdown => "shutdown",
    }
}
