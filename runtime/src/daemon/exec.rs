//! Commands in running containers.

use super::pty::Pty;
use super::records;
use super::runtime::{Container, Phase, Runtime, Sandbox, new_id};
use crate::durable;
use crate::failure::{Attempt, Failure, Result};
use crate::shim::{Body, Op, RunExec};
use mainstay_proto_wire::cri::{Code, CriResult, v1};
use rustix::pipe::{PipeFlags, pipe_with};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::unix::pipe;
use tokio::sync::oneshot;

/// CRI's bound on each output of a synchronous command.
const OUTPUT_BYTES_MAX: usize = 16 << 20;
/// How long output may still come from children of a command that has ended.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Which streams a command gets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) tty: bool,
    pub(super) stdin: bool,
    pub(super) stdout: bool,
    pub(super) stderr: bool,
}

/// A command that runs.
pub(super) struct Running {
    pub(super) id: String,
    pub(super) stdin: Option<pipe::Sender>,
    pub(super) stdout: Option<pipe::Receiver>,
    pub(super) stderr: Option<pipe::Receiver>,
    pub(super) pty: Option<Pty>,
    pub(super) exit: oneshot::Receiver<CriResult<i32>>,
}

impl Runtime {
    /// Starts a command.
    pub(super) async fn start_exec(&self, id: &str, command: &[String], wanted: Wanted) -> Result<Running> {
        let (container, sandbox) = self.running(id)?;
        if command.first().is_none_or(String::is_empty) {
            return Err(Failure::invalid("no command specified"));
        }
        let shim = sandbox.shim()?;
        let exec = new_id();
        let dir = self.paths.sandbox_run(&sandbox.id()).join("x").join(&exec);
        std::fs::create_dir_all(&dir).attempt("making the command's directory")?;
        let cleanup = RemoveDir(dir.clone());
        records::write(&dir, "arguments.json", &command)?;
        let mut pipes = Pipes::open(wanted)?;
        let settings = RunExec {
            exec: exec.clone(),
            container: container.record.id.clone(),
            bundle: self.paths.bundle(&container.record.id),
            state_root: self.paths.oci_state(),
            arguments: dir.join("arguments.json"),
            tty: wanted.tty,
            stdin: wanted.stdin,
            stdout: wanted.stdout,
            stderr: wanted.stderr,
        };
        let (sender, exit) = oneshot::channel();
        sandbox.execs.lock().insert(exec.clone(), sender);
        let called = shim.call(Op::Exec(settings), std::mem::take(&mut pipes.theirs)).await;
        drop(cleanup);
        let (body, fds) = match called {
            Ok(answer) => answer,
            Err(failure) => {
                sandbox.execs.lock().remove(&exec);
                return Err(failure.during(format!("executing a command in container {id}")));
            }
        };
        if !matches!(body, Body::Started { .. }) {
            return Err(Failure::internal("the shim gave another answer"));
        }
        let pty = match fds.into_iter().next() {
            Some(master) => Some(Pty::new(master).attempt("watching the terminal")?),
            None => None,
        };
        Ok(Running { id: exec, stdin: pipes.stdin, stdout: pipes.stdout, stderr: pipes.stderr, pty, exit })
    }

    /// A container that runs, and its sandbox.
    pub(super) fn running(&self, id: &str) -> Result<(Arc<Container>, Arc<Sandbox>)> {
        let container = self.container(id)?;
        if !matches!(container.phase(), Phase::Running { .. }) {
            return Err(Failure::precondition(format!("container {id} is not in the running state")));
        }
        let sandbox = self.sandbox(&container.record.sandbox)?;
        Ok((container, sandbox))
    }

    /// Runs a command to its end and returns its output.
    pub(super) async fn exec_to_end(
        &self,
        id: &str,
        command: &[String],
        timeout: Option<Duration>,
    ) -> Result<v1::ExecSyncResponse> {
        let wanted = Wanted { tty: false, stdin: false, stdout: true, stderr: true };
        let mut running = self.start_exec(id, command, wanted).await?;
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let (from_stdout, from_stderr) = (running.stdout.take(), running.stderr.take());
        let exit = {
            let collect = async {
                tokio::join!(collect(from_stdout, &mut stdout), collect(from_stderr, &mut stderr));
            };
            tokio::pin!(collect);
            let work = async {
                let mut collected = false;
                // Both sides are polled on: the command may fill its pipes, or close them and run on.
                let exit = loop {
                    tokio::select! {
                        exit = &mut running.exit => break exit,
                        () = &mut collect, if !collected => collected = true,
                    }
                };
                if !collected {
                    // A child that keeps the pipe open does not hold the answer up for ever.
                    drop(tokio::time::timeout(DRAIN_TIMEOUT, &mut collect).await);
                }
                exit
            };
            match timeout {
                Some(timeout) => tokio::time::timeout(timeout, work).await,
                None => Ok(work.await),
            }
        };
        match exit {
            Ok(Ok(Ok(code))) => Ok(v1::ExecSyncResponse { stdout, stderr, exit_code: code }),
            Ok(Ok(Err(error))) => Err(Failure::new(error.code, error.message)),
            Ok(Err(_closed)) => Err(Failure::internal("the pod's shim is gone")),
            Err(_elapsed) => {
                self.kill_exec(id, &running.id).await;
                let seconds = timeout.unwrap_or_default().as_secs();
                Err(Failure::new(
                    Code::DeadlineExceeded,
                    format!(
                        "failed to exec in container: timeout {seconds}s exceeded: context deadline exceeded"
                    ),
                ))
            }
        }
    }

    async fn kill_exec(&self, container: &str, exec: &str) {
        let kill = async {
            let (_, sandbox) = self.running(container)?;
            sandbox.execs.lock().remove(exec);
            let op = Op::Signal {
                container: container.to_owned(),
                exec: Some(exec.to_owned()),
                signal: libc::SIGKILL,
            };
            sandbox.shim()?.call(op, Vec::new()).await
        };
        if let Err(failure) = kill.await {
            tracing::debug!(container, error = failure.chain(), "a command past its time was not killed");
        }
    }
}

/// Reads to the end, and keeps reading past the bound so that the command can go on.
async fn collect(stream: Option<impl AsyncRead + Unpin>, into: &mut Vec<u8>) {
    let Some(mut stream) = stream else { return };
    let mut buffer = vec![0_u8; 32 << 10];
    while let Ok(count) = stream.read(&mut buffer).await {
        if count == 0 {
            return;
        }
        let room = OUTPUT_BYTES_MAX - into.len();
        into.extend_from_slice(buffer.get(..count.min(room)).unwrap_or_default());
    }
}

/// Our ends of a command's pipes, and the ends to give away.
struct Pipes {
    stdin: Option<pipe::Sender>,
    stdout: Option<pipe::Receiver>,
    stderr: Option<pipe::Receiver>,
    theirs: Vec<OwnedFd>,
}

impl Pipes {
    fn open(wanted: Wanted) -> Result<Self> {
        let mut pipes = Self { stdin: None, stdout: None, stderr: None, theirs: Vec::new() };
        if wanted.tty {
            return Ok(pipes);
        }
        if wanted.stdin {
            let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC).attempt("making a pipe")?;
            pipes.theirs.push(theirs);
            pipes.stdin = Some(pipe::Sender::from_owned_fd(ours).attempt("watching a pipe")?);
        }
        for (wanted, end) in [(wanted.stdout, &mut pipes.stdout), (wanted.stderr, &mut pipes.stderr)] {
            if wanted {
                let (ours, theirs) = output_pipe()?;
                pipes.theirs.push(theirs);
                *end = Some(ours);
            }
        }
        Ok(pipes)
    }
}

/// A pipe whose read end is ours.
pub(super) fn output_pipe() -> Result<(pipe::Receiver, OwnedFd)> {
    let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC).attempt("making a pipe")?;
    Ok((pipe::Receiver::from_owned_fd(ours).attempt("watching a pipe")?, theirs))
}

/// Removes a command's directory when the command runs or has failed.
struct RemoveDir(std::path::PathBuf);

impl Drop for RemoveDir {
    fn drop(&mut self) {
        if let Err(error) = durable::remove_tree(&self.0) {
            tracing::debug!(dir = %self.0.display(), %error, "a command's directory stays until its pod goes");
        }
    }
}
