//! What a worker can do to its pod, as data.

use std::fmt;

use k8s_openapi::jiff::Timestamp;

/// Why a container is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KillWhy {
    /// The pod ends.
    PodEnds,
    Liveness,
    Startup,
    /// Its spec changed.
    Changed,
    /// It belongs to a sandbox that is no more.
    SandboxGone,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PodStep {
    MountVolumes,
    /// Make a sandbox; `stop` is the one it replaces.
    CreateSandbox {
        attempt: u32,
        stop: Option<String>,
    },
    StartContainer {
        name: String,
        restart_count: u32,
    },
    KillContainer {
        id: String,
        name: String,
        grace_seconds: i64,
        why: KillWhy,
    },
    RemoveContainer {
        id: String,
        name: String,
    },
    StopSandbox {
        id: String,
    },
    RemoveSandbox {
        id: String,
    },
    UnmountVolumes,
    /// Delete the object with grace 0.
    DeletePod,
    /// Nothing is left: the worker ends.
    Forget,
    /// A container waits after a crash.
    BackOff {
        name: String,
        until: Timestamp,
    },
    /// Look again at this time.
    Wake {
        at: Timestamp,
    },
}

impl fmt::Display for PodStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MountVolumes => f.write_str("mount-volumes"),
            Self::CreateSandbox { attempt, stop: None } => write!(f, "create-sandbox attempt={attempt}"),
            Self::CreateSandbox { attempt, stop: Some(id) } => {
                write!(f, "create-sandbox attempt={attempt} stop={id}")
            }
            Self::StartContainer { name, restart_count } => {
                write!(f, "start {name} restarts={restart_count}")
            }
            Self::KillContainer { id, name, grace_seconds, why } => {
                write!(f, "kill {name} id={id} grace={grace_seconds}s why={why:?}")
            }
            Self::RemoveContainer { id, name } => write!(f, "remove {name} id={id}"),
            Self::StopSandbox { id } => write!(f, "stop-sandbox {id}"),
            Self::RemoveSandbox { id } => write!(f, "remove-sandbox {id}"),
            Self::UnmountVolumes => f.write_str("unmount-volumes"),
            Self::DeletePod => f.write_str("delete-pod"),
            Self::Forget => f.write_str("forget"),
            Self::BackOff { name, until } => write!(f, "back-off {name} until={}", until.as_second()),
            Self::Wake { at } => write!(f, "wake at={}", at.as_second()),
        }
    }
}
