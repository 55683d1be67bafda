//! The shim's loop: one thread, one `poll`, no clock. It sleeps until a process dies, an output speaks, or the daemon
//! asks.

use super::container::{Container, exit_of, signal};
use super::log::Stream;
use super::packets;
use super::pending::{Pending, Wanted, describe};
use super::protocol::{Body, Message, Op, Request, now};
use crate::cgroup::Hierarchies;
use crate::failure::{Attempt, Failure, Result};
use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, WaitOptions, WaitStatus, wait};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Most connections at once: the daemon, its successor, the command line.
const CONNECTIONS_MAX: usize = 16;
/// Most exits remembered while a helper works.
const STRAYS_MAX: usize = 4096;

/// A running exec: who asked for it.
struct Exec {
    exec: String,
    container: String,
    connection: u64,
}

/// What a descriptor that is ready belongs to.
enum Source {
    Signals,
    Listener,
    Connection(u64),
    Output(String, Stream),
    Copy(String),
}

/// The state of one shim.
pub(super) struct Server {
    listener: OwnedFd,
    signals: SignalFd,
    groups: Option<Hierarchies>,
    connections: BTreeMap<u64, OwnedFd>,
    next_connection: u64,
    containers: BTreeMap<String, Container>,
    execs: BTreeMap<i32, Exec>,
    pending: Vec<Pending>,
    /// Processes that died while a helper worked: one may be the process it was about to tell of.
    strays: BTreeMap<i32, WaitStatus>,
    stop: bool,
}

impl Server {
    pub(super) fn new(listener: OwnedFd, signals: SignalFd) -> Self {
        Self {
            listener,
            signals,
            groups: Hierarchies::find().ok(),
            connections: BTreeMap::new(),
            next_connection: 0,
            containers: BTreeMap::new(),
            execs: BTreeMap::new(),
            pending: Vec::new(),
            strays: BTreeMap::new(),
            stop: false,
        }
    }

    /// Serves until told to stop.
    pub(super) fn run(&mut self) -> Result<()> {
        while !self.stop {
            for source in self.wait()? {
                self.serve(source)?;
            }
        }
        Ok(())
    }

    /// Sleeps until something is ready.
    fn wait(&self) -> Result<Vec<Source>> {
        let mut fds: Vec<PollFd<'_>> = Vec::new();
        let mut sources = Vec::new();
        fds.push(PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN));
        sources.push(Source::Signals);
        fds.push(PollFd::new(&self.listener, PollFlags::IN));
        sources.push(Source::Listener);
        for (id, connection) in &self.connections {
            fds.push(PollFd::new(connection, PollFlags::IN));
            sources.push(Source::Connection(*id));
        }
        for (id, container) in &self.containers {
            for (output, stream) in [(&container.stdout, Stream::Stdout), (&container.stderr, Stream::Stderr)]
            {
                let Some(output) = output else { continue };
                if let Some(fd) = output.readable() {
                    fds.push(PollFd::new(fd, PollFlags::IN));
                    sources.push(Source::Output(id.clone(), stream));
                }
                for fd in output.writable() {
                    fds.push(PollFd::new(fd, PollFlags::OUT));
                    sources.push(Source::Copy(id.clone()));
                }
            }
        }
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
            other => other.attempt("waiting for work")?,
        };
        let ready = fds.iter().map(|fd| !fd.revents().is_empty()).collect::<Vec<_>>();
        Ok(sources.into_iter().zip(ready).filter(|(_, ready)| *ready).map(|(source, _)| source).collect())
    }

    fn serve(&mut self, source: Source) -> Result<()> {
        match source {
            Source::Signals => {
                while self.signals.read_signal().attempt("reading signals")?.is_some() {}
                self.bury();
            }
            Source::Listener => {
                if let Some(stream) = packets::accept(&self.listener).attempt("taking a connection")?
                    && self.connections.len() < CONNECTIONS_MAX
                {
                    self.connections.insert(self.next_connection, stream);
                    self.next_connection += 1;
                }
            }
            Source::Connection(id) => self.listen_to(id),
            Source::Output(id, stream) => {
                if let Some(container) = self.containers.get_mut(&id) {
                    container.read(stream);
                }
            }
            Source::Copy(id) => {
                if let Some(container) = self.containers.get_mut(&id) {
                    container.flush();
                }
            }
        }
        Ok(())
    }

    /// Reads one request. A connection that breaks or talks nonsense is closed.
    fn listen_to(&mut self, id: u64) {
        let Some(connection) = self.connections.get(&id) else { return };
        match packets::receive::<Request>(connection) {
            Ok(Some((request, fds))) => self.answer(id, request, fds),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Ok(None) | Err(_) => drop(self.connections.remove(&id)),
        }
    }

    fn answer(&mut self, connection: u64, request: Request, fds: Vec<OwnedFd>) {
        let what = describe(&request.op);
        let origin = (connection, request.id);
        let started = match request.op {
            Op::Run(settings) => Pending::run(*settings, origin),
            Op::Exec(settings) => Pending::exec(settings, fds, origin),
            op => {
                let (result, fd) = match self.act(op, fds) {
                    Ok((body, fd)) => (Ok(body), fd),
                    Err(failure) => (Err(failure.during(what).chain()), None),
                };
                return self.reply(origin, result, fd.as_ref().map(AsFd::as_fd));
            }
        };
        match started {
            Ok(pending) => self.pending.push(pending),
            Err(failure) => self.reply(origin, Err(failure.chain()), None),
        }
    }

    /// Everything that needs no helper.
    fn act(&mut self, op: Op, fds: Vec<OwnedFd>) -> Result<(Body, Option<OwnedFd>)> {
        match op {
            Op::Run(_) | Op::Exec(_) => return Err(Failure::internal("needs a helper")),
            Op::Signal { container, exec, signal: number } => {
                let pid = match &exec {
                    Some(exec) => {
                        self.execs.iter().find(|(_, found)| found.exec == *exec).map(|(pid, _)| *pid)
                    }
                    None => self.container(&container)?.pid().map(|pid| pid.as_raw_nonzero().get()),
                };
                if let Some(pid) = pid.and_then(Pid::from_raw) {
                    signal(pid, number).attempt("sending a signal")?;
                }
            }
            Op::Resize { container, width, height } => {
                self.container(&container)?.resize(width, height).attempt("changing the terminal's size")?;
            }
            Op::Attach { container, stdout, stderr } => {
                return self.attach(&container, [stdout, stderr], fds);
            }
            Op::CloseStdin { container } => self.container(&container)?.stdin = None,
            Op::ReopenLog { container } => {
                self.container(&container)?.reopen_log().attempt("opening the log")?;
            }
            Op::Forget { container } => drop(self.containers.remove(&container)),
            Op::List => {
                let list =
                    self.containers.iter().map(|(id, container)| (id.clone(), container.state().clone()));
                return Ok((Body::Containers(list.collect()), None));
            }
            Op::Shutdown => {
                if self.containers.values().any(|container| container.pid().is_some())
                    || !self.pending.is_empty()
                {
                    return Err(Failure::precondition("a container still runs"));
                }
                self.stop = true;
            }
        }
        Ok((Body::Done, None))
    }

    fn attach(&mut self, id: &str, wanted: [bool; 2], fds: Vec<OwnedFd>) -> Result<(Body, Option<OwnedFd>)> {
        let container = self.container(id)?;
        if container.pid().is_none() {
            return Err(Failure::precondition("the container does not run"));
        }
        let mut fds = fds.into_iter();
        for (output, wanted) in [&mut container.stdout, &mut container.stderr].into_iter().zip(wanted) {
            if !wanted {
                continue;
            }
            let fd = fds.next().ok_or_else(|| Failure::invalid("a stream is missing"))?;
            rustix::io::ioctl_fionbio(&fd, true).attempt("preparing a stream")?;
            if let Some(output) = output {
                output.attach(fd);
            }
        }
        let input = match container.input() {
            Some(fd) => Some(rustix::io::fcntl_dupfd_cloexec(fd, 3).attempt("sharing the input")?),
            None => None,
        };
        Ok((Body::Attached { stdin: input.is_some() }, input))
    }

    fn container(&mut self, id: &str) -> Result<&mut Container> {
        self.containers
            .get_mut(id)
            .ok_or_else(|| Failure::not_found(format!("container {id} is not in this shim")))
    }

    fn reply(
        &mut self,
        origin: (u64, u64),
        result: std::result::Result<Body, String>,
        fd: Option<BorrowedFd<'_>>,
    ) {
        let result = result.map_err(|text| text.chars().take(4096).collect());
        self.send(origin.0, &Message::Reply { id: origin.1, result }, fd);
    }

    /// A daemon that does not take its messages is dropped: it connects again and asks how things are.
    fn send(&mut self, connection: u64, message: &Message, fd: Option<BorrowedFd<'_>>) {
        let Some(stream) = self.connections.get(&connection) else { return };
        let fds: Vec<BorrowedFd<'_>> = fd.into_iter().collect();
        if packets::send(stream, message, &fds).is_err() {
            self.connections.remove(&connection);
        }
    }

    /// Takes note of every process that died.
    fn bury(&mut self) {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            let pid = pid.as_raw_nonzero().get();
            if let Some(index) = self.pending.iter().position(|pending| pending.helper == pid) {
                let pending = self.pending.swap_remove(index);
                self.finish(pending);
            } else if !self.died(pid, status) && !self.pending.is_empty() && self.strays.len() < STRAYS_MAX {
                self.strays.insert(pid, status);
            }
        }
        if self.pending.is_empty() {
            self.strays.clear();
        }
    }

    /// A helper has ended: its process runs, or failed to.
    fn finish(&mut self, mut pending: Pending) {
        let origin = (pending.connection, pending.request);
        let started = pending.result().and_then(|pid| Ok((pid, pending.master()?)));
        let (pid, master) = match started {
            Ok(started) => started,
            Err(failure) => return self.reply(origin, Err(failure.chain()), None),
        };
        let body = Body::Started { pid, started_at: now() };
        match pending.wanted.take() {
            None => {}
            Some(Wanted::Run { settings, mut channels, log }) => {
                channels.master = master;
                let id = settings.container.clone();
                self.containers.insert(id, Container::new(settings, pid, channels, log));
                self.reply(origin, Ok(body), None);
            }
            Some(Wanted::Exec(settings)) => {
                let exec = Exec { exec: settings.exec, container: settings.container, connection: origin.0 };
                self.execs.insert(pid, exec);
                self.reply(origin, Ok(body), master.as_ref().map(AsFd::as_fd));
            }
        }
        if let Some(status) = self.strays.remove(&pid) {
            self.died(pid, status);
        }
    }

    /// Tells of a process that we know. False for strangers.
    fn died(&mut self, pid: i32, status: WaitStatus) -> bool {
        if let Some(exec) = self.execs.remove(&pid) {
            let message = Message::Exited {
                container: exec.container,
                exec: Some(exec.exec),
                exit: exit_of(status, false),
            };
            self.send(exec.connection, &message, None);
            return true;
        }
        let groups = self.groups.as_ref();
        let is_it =
            |container: &&mut Container| container.pid().is_some_and(|own| own.as_raw_nonzero().get() == pid);
        let Some(container) = self.containers.values_mut().find(is_it) else { return false };
        let exit = container.exited(status, groups);
        let id = container.settings.container.clone();
        let message = Message::Exited { container: id, exec: None, exit };
        for connection in self.connections.keys().copied().collect::<Vec<_>>() {
            self.send(connection, &message, None);
        }
        true
    }
}
