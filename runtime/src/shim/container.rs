//! A container as its shim sees it: the first process, its outputs and input, and how it ended.

use super::log::{LogFile, Stream};
use super::output::Output;
use super::protocol::{Exit, RunContainer, State};
use crate::cgroup::Hierarchies;
use crate::durable::{self, Sync};
use rustix::process::{Pid, WaitStatus};
use rustix::termios::Winsize;
use std::os::fd::OwnedFd;

/// The pipes or the terminal between a container and its shim.
pub(super) struct Channels {
    pub(super) stdout: Option<OwnedFd>,
    pub(super) stderr: Option<OwnedFd>,
    /// Write end of the input pipe.
    pub(super) stdin: Option<OwnedFd>,
    /// Master of the terminal: output, input and size in one.
    pub(super) master: Option<OwnedFd>,
}

/// A container whose process was started.
pub(super) struct Container {
    pub(super) settings: RunContainer,
    pub(super) stdout: Option<Output>,
    pub(super) stderr: Option<Output>,
    pub(super) stdin: Option<OwnedFd>,
    pub(super) master: Option<OwnedFd>,
    log: Option<LogFile>,
    state: State,
}

impl Container {
    /// Takes over the started process `pid`.
    pub(super) fn new(settings: RunContainer, pid: i32, channels: Channels, log: Option<LogFile>) -> Self {
        let output = |fd: Option<OwnedFd>, stream| fd.map(|fd| Output::new(fd, stream));
        let terminal =
            channels.master.as_ref().and_then(|master| rustix::io::fcntl_dupfd_cloexec(master, 3).ok());
        Self {
            stdout: output(terminal.or(channels.stdout), Stream::Stdout),
            stderr: output(channels.stderr, Stream::Stderr),
            stdin: channels.stdin,
            master: channels.master,
            settings,
            log,
            state: State::Running { pid },
        }
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// The first process, while it has not been buried: its number cannot be another's.
    pub(super) fn pid(&self) -> Option<Pid> {
        match self.state {
            State::Running { pid } => Pid::from_raw(pid),
            State::Exited(_) => None,
        }
    }

    /// Reads one output once.
    pub(super) fn read(&mut self, stream: Stream) {
        let output = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        if let Some(output) = output {
            output.read(self.log.as_mut());
        }
    }

    /// Hands attached readers what they can take.
    pub(super) fn flush(&mut self) {
        for output in [&mut self.stdout, &mut self.stderr].into_iter().flatten() {
            output.flush();
        }
    }

    /// The process is gone: logs what it left, and writes the exit down before anybody is told.
    pub(super) fn exited(&mut self, status: WaitStatus, groups: Option<&Hierarchies>) -> Exit {
        for output in [&mut self.stdout, &mut self.stderr].into_iter().flatten() {
            output.drain(self.log.as_mut());
        }
        self.stdin = None;
        let killed_by_memory = groups.is_some_and(|groups| groups.oom_kills(&self.settings.cgroup) > 0);
        let exit = exit_of(status, killed_by_memory);
        write_exit(&self.settings, &exit);
        self.state = State::Exited(exit.clone());
        exit
    }

    pub(super) fn resize(&self, width: u16, height: u16) -> std::io::Result<()> {
        let Some(master) = &self.master else {
            return Err(std::io::Error::other("the container has no terminal"));
        };
        Ok(rustix::termios::tcsetwinsize(
            master,
            Winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 },
        )?)
    }

    pub(super) fn reopen_log(&mut self) -> std::io::Result<()> {
        self.log.as_mut().map_or(Ok(()), LogFile::reopen)
    }

    /// A descriptor that writes to the container's input.
    pub(super) fn input(&self) -> Option<&OwnedFd> {
        if self.settings.stdin { self.master.as_ref().or(self.stdin.as_ref()) } else { None }
    }
}

/// Sends a signal to a process that has not been buried.
pub(super) fn signal(pid: Pid, number: i32) -> std::io::Result<()> {
    match crate::sys::kill(pid.as_raw_nonzero().get(), number) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        other => other,
    }
}

/// An exit as Kubernetes counts: the status, or 128 + the signal.
pub(super) fn exit_of(status: WaitStatus, oom_killed: bool) -> Exit {
    let code = status
        .exit_status()
        .or_else(|| status.terminating_signal().map(|signal| 128 + signal))
        .unwrap_or(255);
    Exit {
        code,
        finished_at: super::protocol::now(),
        oom_killed: oom_killed && code != 0,
        reason: None,
        message: None,
    }
}

fn write_exit(settings: &RunContainer, exit: &Exit) {
    let written = serde_json::to_vec(exit)
        .map_err(std::io::Error::from)
        .and_then(|bytes| durable::replace(&settings.exit_file, &bytes, Sync::No));
    if let Err(error) = written {
        // A full disk: the daemon still gets the exit by message, and later asks the shim, which remembers it.
        super::main::complain(&format!("writing the exit of {}: {error}", settings.container));
    }
}
