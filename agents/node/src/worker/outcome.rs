//! How an operation of a worker ended.

use k8s_openapi::api::core::v1::PodStatus;

use super::view::Failure;

/// The end of one operation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    VolumesMounted,
    VolumesFailed(Failure),
    VolumesRemoved,
    SandboxMade,
    SandboxFailed(Failure),
    /// The container runs and its `postStart` hook is done.
    Started {
        name: String,
        id: String,
    },
    StartFailed(StartFailure),
    /// A kill, removal or stop: what it did shows in the runtime's records.
    Done,
    /// The same, but it failed; it is tried again.
    Undone {
        what: &'static str,
        message: String,
    },
    Deleted,
    DeleteFailed(String),
    /// The API has taken this status.
    StatusWritten {
        status: Box<PodStatus>,
        resource_version: String,
    },
    /// The object is gone.
    StatusGone,
    StatusFailed(String),
}

/// Why a container does not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StartFailure {
    pub name: String,
    pub failure: Failure,
    pub stage: StartStage,
}

/// Where a start failed: decides when it is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StartStage {
    /// A pull was tried.
    Pull,
    /// A pull was put off.
    PullBackOff,
    /// The image, configuration or creation.
    Prepare,
    /// The process or its `postStart` hook: the exit shows in the runtime.
    Run,
}
