//! Everything a pod's decisions are made from: the object, the runtime's records, the agent's memory, and the time.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use k8s_openapi::jiff::Timestamp;

use super::backoff::Delay;
use crate::runtime_state::PodRuntime;

/// The input of [`super::plan::plan`] and [`crate::status::pod_status`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct PodView<'a> {
    pub pod: &'a Pod,
    pub runtime: &'a PodRuntime,
    pub memory: &'a PodMemory,
    pub now: Timestamp,
}

#[allow(clippy::struct_excessive_bools, reason = "independent facts, each set once and never cleared")]
/// What the agent knows of a pod that is neither in the API nor in the runtime.
#[derive(Debug, Clone, Default)]
pub(crate) struct PodMemory {
    /// The object is gone from the API: end the pod without writing to it.
    pub gone: bool,
    /// The node refuses the pod.
    pub rejected: Option<Failure>,
    /// When the agent first saw the pod, in case its status does not say.
    pub first_seen: Option<Timestamp>,
    pub volumes: VolumesState,
    /// When the mounted volumes must be brought up to date.
    pub volumes_due: Option<Timestamp>,
    /// The last failed sandbox attempt.
    pub sandbox_failure: Option<Retry>,
    pub containers: BTreeMap<String, ContainerMemory>,
    /// Operations that have not ended.
    pub in_flight: BTreeSet<Op>,
    /// Grace of each kill in flight, by container id.
    pub kill_grace: BTreeMap<String, i64>,
    /// When ending the pod began.
    pub ending_since: Option<Timestamp>,
    /// The last status that the agent computed.
    pub status: Option<PodStatus>,
    /// A start was broken off because the pod ends.
    pub settling: bool,
    /// The API has the final status.
    pub final_status_written: bool,
    /// The API object was deleted by us.
    pub deleted: bool,
    /// The node's addresses.
    pub host_ips: Vec<String>,
}

/// A reason and a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub reason: String,
    pub message: String,
}

/// A failure and when to try again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Retry {
    pub failure: Failure,
    pub at: Timestamp,
    pub attempts: u32,
}

/// Whether the pod's volumes are there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum VolumesState {
    /// Not tried yet.
    #[default]
    Pending,
    Mounted,
    Failed(Retry),
    /// Taken down at the pod's end.
    Removed,
}

/// What the agent remembers of one container name.
#[derive(Debug, Clone, Default)]
pub(crate) struct ContainerMemory {
    /// Delay between restarts.
    pub crash: Option<Delay>,
    /// Delay between pulls.
    pub pull: Option<PullFailure>,
    /// Why the last start failed.
    pub failure: Option<Retry>,
    /// Probe results of the container with this id.
    pub probes: Option<(String, ProbeResults)>,
    /// Id of the container whose `postStart` hook has ended well.
    pub hook_done: Option<String>,
}

impl ContainerMemory {
    /// Probe results of the container `id`, if there are any.
    pub(crate) fn probes_of(&self, id: &str) -> ProbeResults {
        self.probes.as_ref().filter(|(of, _)| of == id).map(|(_, r)| *r).unwrap_or_default()
    }
}

/// A failed pull: its delay, when it failed, and how.
pub(crate) type PullFailure = (Delay, Timestamp, String);

/// Latest verdicts; `None` until the first one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ProbeResults {
    pub startup: Option<bool>,
    pub readiness: Option<bool>,
    pub liveness: Option<bool>,
}

/// Something that takes time; at most one of each key runs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Op {
    Volumes,
    Sandbox,
    /// Containers start one after the other.
    Start,
    Kill(String),
    Remove(String),
    Delete,
    Status,
}

impl PodMemory {
    /// What is remembered of a container name; nothing when it is new.
    pub(crate) fn container(&self, name: &str) -> Option<&ContainerMemory> {
        self.containers.get(name)
    }
}
