//! Exec, attach and port-forward as byte streams.

use super::exec::{Running, Wanted, output_pipe};
use super::pty::Pty;
use super::runtime::{Container, Phase, Runtime, Sandbox};
use crate::failure::{Attempt, Failure, Result};
use crate::network::{in_namespaces, open_pin};
use crate::shim::{Body, Op};
use mainstay_proto_wire::cri::{
    BoxFuture, Code, CriResult, Duplex, ExecSession, Input, Output, Streams, TerminalSize, v1,
};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::AsyncWrite;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot};

const RESIZES_MAX: usize = 16;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

impl Streams for Runtime {
    fn exec(&self, request: v1::ExecRequest) -> BoxFuture<'_, CriResult<ExecSession>> {
        Box::pin(async move {
            check_streams(request.tty, [request.stdin, request.stdout, request.stderr])?;
            let wanted = Wanted {
                tty: request.tty,
                stdin: request.stdin,
                stdout: request.stdout,
                stderr: request.stderr,
            };
            let running = self.start_exec(&request.container_id, &request.cmd, wanted).await?;
            Ok(self.session(running, wanted))
        })
    }

    fn attach(&self, request: v1::AttachRequest) -> BoxFuture<'_, CriResult<ExecSession>> {
        Box::pin(async move {
            check_streams(request.tty, [request.stdin, request.stdout, request.stderr])?;
            Ok(self.attach_to(request).await?)
        })
    }

    fn port_forward(&self, pod_sandbox_id: String, port: u16) -> BoxFuture<'_, CriResult<Box<dyn Duplex>>> {
        Box::pin(async move { Ok(self.connect_to(&pod_sandbox_id, port).await?) })
    }
}

fn check_streams(tty: bool, [stdin, stdout, stderr]: [bool; 3]) -> Result<()> {
    if !(stdin || stdout || stderr) {
        return Err(Failure::invalid("one of stdin, stdout, or stderr must be set"));
    }
    if tty && stderr {
        return Err(Failure::invalid("tty and stderr cannot both be true"));
    }
    Ok(())
}

impl Runtime {
    fn session(&self, running: Running, wanted: Wanted) -> ExecSession {
        let Some(pty) = running.pty else {
            return ExecSession {
                stdin: running.stdin.map(|end| Box::new(end) as Input),
                stdout: running.stdout.map(|end| Box::new(end) as Output),
                stderr: running.stderr.map(|end| Box::new(end) as Output),
                resize: None,
                exit: running.exit,
            };
        };
        let target = pty.clone();
        let resize = self.resizer(move |size| {
            let target = target.clone();
            async move { target.resize(size).attempt("changing the terminal's size") }
        });
        ExecSession {
            stdin: wanted.stdin.then(|| Box::new(pty.clone()) as Input),
            stdout: Some(Box::new(pty) as Output),
            stderr: None,
            resize: Some(resize),
            exit: running.exit,
        }
    }

    /// Applies sizes as they come, until the sender is dropped.
    fn resizer<F>(&self, apply: impl Fn(TerminalSize) -> F + Send + 'static) -> mpsc::Sender<TerminalSize>
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let (sender, mut receiver) = mpsc::channel::<TerminalSize>(RESIZES_MAX);
        let stop = self.tasks.token();
        self.tasks.spawn("terminal size", async move {
            loop {
                let size = tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    size = receiver.recv() => size,
                };
                let Some(size) = size else { return };
                if let Err(failure) = apply(size).await {
                    tracing::debug!(error = failure.chain(), "a terminal kept its size");
                }
            }
        });
        sender
    }

    async fn attach_to(&self, request: v1::AttachRequest) -> Result<ExecSession> {
        let (container, sandbox) = self.running(&request.container_id)?;
        let (tty, stdin_once) = {
            let config = container.config.lock();
            (config.tty, config.stdin && config.stdin_once)
        };
        let shim = sandbox.shim()?;
        let mut theirs = Vec::new();
        let mut ours: [Option<pipe::Receiver>; 2] = [None, None];
        let wanted = [request.stdout, request.stderr && !tty];
        for (end, wanted) in ours.iter_mut().zip(wanted) {
            if wanted {
                let (read, write) = output_pipe()?;
                theirs.push(write);
                *end = Some(read);
            }
        }
        let id = container.record.id.clone();
        let op = Op::Attach { container: id.clone(), stdout: wanted[0], stderr: wanted[1] };
        let (body, fds) = shim.call(op, theirs).await?;
        if !matches!(body, Body::Attached { .. }) {
            return Err(Failure::internal("the shim gave another answer"));
        }
        let input = fds.into_iter().next().filter(|_| request.stdin);
        let stdin = match input {
            Some(fd) => Some(self.container_input(fd, tty, stdin_once, &container, &sandbox)?),
            None => None,
        };
        let [stdout, stderr] = ours.map(|end| end.map(|end| Box::new(end) as Output));
        let resize = tty.then(|| {
            self.resizer(move |size| {
                let (shim, container) = (shim.clone(), id.clone());
                async move {
                    let op = Op::Resize { container, width: size.width, height: size.height };
                    shim.call(op, Vec::new()).await.map(drop)
                }
            })
        });
        Ok(ExecSession { stdin, stdout, stderr, resize, exit: self.exit_of(container) })
    }

    fn container_input(
        &self,
        fd: OwnedFd,
        tty: bool,
        once: bool,
        container: &Arc<Container>,
        sandbox: &Arc<Sandbox>,
    ) -> Result<Input> {
        let end: Input = if tty {
            Box::new(Pty::new(fd).attempt("watching the terminal")?)
        } else {
            Box::new(pipe::Sender::from_owned_fd(fd).attempt("watching the input")?)
        };
        if !once {
            return Ok(end);
        }
        let (me, container, sandbox) = (self.me()?, Arc::clone(container), Arc::clone(sandbox));
        let close = move || {
            let tasks = me.tasks.clone();
            tasks.spawn("close input", async move {
                let shim = sandbox.shim()?;
                shim.call(Op::CloseStdin { container: container.record.id.clone() }, Vec::new())
                    .await
                    .map(drop)
            });
        };
        Ok(Box::new(OnceInput { end: Some(end), close: Some(Box::new(close)) }))
    }

    /// The container's exit code, when it comes.
    fn exit_of(&self, container: Arc<Container>) -> oneshot::Receiver<CriResult<i32>> {
        let (mut sender, receiver) = oneshot::channel();
        let stop = self.tasks.token();
        self.tasks.spawn("attached exit", async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = sender.closed() => return,
                () = container.exited() => {}
            }
            if let Phase::Exited { exit, .. } = container.phase() {
                drop(sender.send(Ok(exit.code)));
            }
        });
        receiver
    }

    async fn connect_to(&self, id: &str, port: u16) -> Result<Box<dyn Duplex>> {
        let sandbox = self.sandbox(id)?;
        if !sandbox.ready() {
            return Err(Failure::precondition(format!("pod sandbox {id} is not ready")));
        }
        let net = sandbox.record.lock().net;
        let connect = move || async move {
            let local = |address| connect_one(SocketAddr::new(address, port));
            match local(Ipv4Addr::LOCALHOST.into()).await {
                Ok(stream) => Ok(stream),
                Err(first) => local(Ipv6Addr::LOCALHOST.into()).await.map_err(|_second| first),
            }
        };
        let stream = if net {
            let netns = open_pin(&self.paths.sandbox_run(id))?;
            let inside = tokio::task::spawn_blocking(move || {
                in_namespaces(netns, move || async move {
                    connect().await?.into_std().attempt("taking the connection out of the pod")
                })
            });
            let stream = inside.await.attempt("waiting for the connection")??;
            tokio::net::TcpStream::from_std(stream).attempt("watching the connection")?
        } else {
            connect().await?
        };
        Ok(Box::new(stream))
    }
}

async fn connect_one(address: SocketAddr) -> Result<tokio::net::TcpStream> {
    let connect = tokio::time::timeout(CONNECT_TIMEOUT, tokio::net::TcpStream::connect(address));
    let failed = |text: String| {
        Failure::new(Code::Unavailable, format!("failed to connect to {address} inside the pod: {text}"))
    };
    match connect.await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_elapsed) => Err(failed("no answer".to_owned())),
    }
}

/// The input of a container that takes input once: its end is the container's end of file.
struct OnceInput {
    end: Option<Input>,
    close: Option<Box<dyn FnOnce() + Send>>,
}

impl OnceInput {
    fn finish(&mut self) {
        self.end = None;
        if let Some(close) = self.close.take() {
            close();
        }
    }

    fn end(&mut self) -> std::io::Result<Pin<&mut Input>> {
        self.end.as_mut().map(Pin::new).ok_or_else(|| std::io::ErrorKind::BrokenPipe.into())
    }
}

impl AsyncWrite for OnceInput {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        match self.end() {
            Ok(end) => end.poll_write(cx, bytes),
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.end().map_or(Poll::Ready(Ok(())), |end| end.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.finish();
        Poll::Ready(Ok(()))
    }
}

impl Drop for OnceInput {
    fn drop(&mut self) {
        self.finish();
    }
}
