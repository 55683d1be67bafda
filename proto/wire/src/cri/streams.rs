//! Interactive streams: what CRI hands out as URLs are plain byte streams inside one process.

use super::{BoxFuture, CriResult, v1};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};

/// The write end of a command's standard input; shutting it down is end of file.
pub type Input = Box<dyn AsyncWrite + Send + Unpin>;
/// The read end of a command's output.
pub type Output = Box<dyn AsyncRead + Send + Unpin>;

/// A two-way connection.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Columns and rows of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// A running exec or attach. Dropping it detaches: an exec's command is hung up (its stdin closes, and a terminal
/// sends SIGHUP), an attached container runs on.
pub struct ExecSession {
    /// Present when the request asked for stdin.
    pub stdin: Option<Input>,
    /// Present when the request asked for stdout.
    pub stdout: Option<Output>,
    /// Present when the request asked for stderr; never with a terminal.
    pub stderr: Option<Output>,
    /// Present with a terminal.
    pub resize: Option<mpsc::Sender<TerminalSize>>,
    /// The exit code: of the command (exec), of the container (attach). 128 + signal when a signal ended it.
    /// All output has been handed to the streams before it is sent.
    pub exit: oneshot::Receiver<CriResult<i32>>,
}

/// Exec, attach and port-forward.
pub trait Streams: Send + Sync {
    /// Starts a command in a running container.
    fn exec(&self, request: v1::ExecRequest) -> BoxFuture<'_, CriResult<ExecSession>>;

    /// Joins the streams of a running container from now on.
    fn attach(&self, request: v1::AttachRequest) -> BoxFuture<'_, CriResult<ExecSession>>;

    /// Connects to `port` on the loopback address inside the sandbox's network namespace.
    fn port_forward(&self, pod_sandbox_id: String, port: u16) -> BoxFuture<'_, CriResult<Box<dyn Duplex>>>;
}
