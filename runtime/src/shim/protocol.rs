//! What daemon and shim say to each other: one JSON text per packet of a SEQPACKET socket, file descriptors beside
//! it. Requests carry a number that the reply repeats; events come unasked.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Largest packet. Everything long travels as a file.
pub(crate) const PACKET_BYTES_MAX: usize = 64 << 10;
/// Most file descriptors beside a packet.
pub(crate) const FDS_MAX: usize = 4;
/// The socket's name in the sandbox's run directory.
pub(crate) const SOCKET: &str = "shim.sock";
/// The shim holds this file locked while it lives.
pub(crate) const LOCK: &str = "shim.lock";
/// The shim's own settings.
pub(crate) const CONFIG: &str = "shim.json";

/// How a shim starts.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ShimConfig {
    pub(crate) version: u32,
    /// A process that holds the pod's shared process namespace is wanted.
    pub(crate) shared_pid: bool,
}

/// One question of the daemon.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) id: u64,
    pub(crate) op: Op,
}

/// What the daemon may ask.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Op {
    /// Creates and starts a container's process.
    Run(Box<RunContainer>),
    /// Starts a command in a running container. Descriptors: stdin, stdout, stderr as far as wanted, without a
    /// terminal.
    Exec(RunExec),
    /// Sends a signal to the container's first process or to an exec's, if it still lives.
    Signal { container: String, exec: Option<String>, signal: i32 },
    /// Changes the size of the container's terminal.
    Resize { container: String, width: u16, height: u16 },
    /// Copies output from now on. Descriptors: stdout, stderr as far as wanted. The reply brings the container's
    /// input, if it has one.
    Attach { container: String, stdout: bool, stderr: bool },
    /// Ends the container's input.
    CloseStdin { container: String },
    /// Opens the log file anew.
    ReopenLog { container: String },
    /// Forgets an exited container.
    Forget { container: String },
    /// What runs and what exited.
    List,
    /// Ends the shim when no container runs.
    Shutdown,
}

/// How large logs may grow.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct LogLimits {
    pub(crate) file_bytes_max: u64,
    /// All files of one container, the current one included.
    pub(crate) files_max: u32,
}

/// A container to run. Its bundle is ready.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RunContainer {
    pub(crate) container: String,
    pub(crate) bundle: PathBuf,
    pub(crate) state_root: PathBuf,
    pub(crate) log: Option<PathBuf>,
    pub(crate) log_limits: LogLimits,
    /// Where the exit is written.
    pub(crate) exit_file: PathBuf,
    pub(crate) cgroup: String,
    pub(crate) tty: bool,
    pub(crate) stdin: bool,
}

/// A command to run in a container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RunExec {
    pub(crate) exec: String,
    pub(crate) container: String,
    pub(crate) bundle: PathBuf,
    pub(crate) state_root: PathBuf,
    /// File with the arguments as a JSON list; the shim's helper removes it.
    pub(crate) arguments: PathBuf,
    pub(crate) tty: bool,
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
}

/// What a shim says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Message {
    /// The answer to a request.
    Reply { id: u64, result: Result<Body, String> },
    /// A process that the daemon knows of ended.
    Exited { container: String, exec: Option<String>, exit: Exit },
}

/// A good answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Body {
    Done,
    /// A process runs. With a terminal of an exec, its master is beside the packet.
    Started {
        pid: i32,
        started_at: i64,
    },
    /// Whether the container's input is beside the packet.
    Attached {
        stdin: bool,
    },
    Containers(Vec<(String, State)>),
}

/// How a container of the shim is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum State {
    Running { pid: i32 },
    Exited(Exit),
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exit {
    /// The exit status, or 128 + the signal.
    pub(crate) code: i32,
    /// Nanoseconds since 1970.
    pub(crate) finished_at: i64,
    /// The OOM killer was at work in the container.
    #[serde(default)]
    pub(crate) oom_killed: bool,
    /// CRI's reason, when it is not to be derived from the code.
    #[serde(default)]
    pub(crate) reason: Option<String>,
    #[serde(default)]
    pub(crate) message: Option<String>,
}

/// Now, in nanoseconds since 1970. The shim has no clock to be handed: it is a process of its own.
pub(crate) fn now() -> i64 {
    crate::images::nanoseconds(time::OffsetDateTime::now_utc())
}
