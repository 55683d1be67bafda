//! What the runtime says about one pod: its sandboxes and containers, newest first. Data only.

use std::cmp::Reverse;

use k8s_openapi::jiff::Timestamp;
use mainstay_proto_wire::cri::v1;

use crate::names;

/// A sandbox as the runtime reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SandboxRecord {
    pub id: String,
    pub attempt: u32,
    pub created_at: Timestamp,
    pub ready: bool,
    /// Empty for a pod on the node's network.
    pub ips: Vec<String>,
}

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    Created,
    Running,
    Exited,
    Unknown,
}

/// A container as the runtime reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContainerRecord {
    pub id: String,
    pub sandbox_id: String,
    pub name: String,
    pub restart_count: u32,
    pub life: Life,
    pub created_at: Timestamp,
    pub started_at: Timestamp,
    pub finished_at: Timestamp,
    pub exit_code: i32,
    pub reason: String,
    pub message: String,
    pub image: String,
    pub image_id: String,
    pub hash: String,
    pub log_path: String,
    pub user: Option<v1::LinuxContainerUser>,
}

impl ContainerRecord {
    /// Whether its process runs.
    pub(crate) fn running(&self) -> bool {
        self.life == Life::Running
    }

    /// Whether its process has ended.
    pub(crate) fn exited(&self) -> bool {
        matches!(self.life, Life::Exited | Life::Unknown)
    }
}

/// Everything of one pod in the runtime.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PodRuntime {
    /// Name and namespace from the labels, for pods whose object is gone.
    pub name: String,
    pub namespace: String,
    /// Newest first.
    pub sandboxes: Vec<SandboxRecord>,
    /// Newest first.
    pub containers: Vec<ContainerRecord>,
}

impl PodRuntime {
    /// Sorts both lists newest first.
    pub(crate) fn sort(&mut self) {
        self.sandboxes.sort_by_key(|s| Reverse((s.attempt, s.created_at)));
        self.containers.sort_by_key(|c| Reverse((c.restart_count, c.created_at)));
    }

    /// The newest sandbox.
    pub(crate) fn sandbox(&self) -> Option<&SandboxRecord> {
        self.sandboxes.first()
    }

    /// The containers of this name, newest first.
    pub(crate) fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a ContainerRecord> {
        self.containers.iter().filter(move |c| c.name == name)
    }

    /// The newest container of this name.
    pub(crate) fn latest<'a>(&'a self, name: &'a str) -> Option<&'a ContainerRecord> {
        self.named(name).next()
    }

    /// The newest container of this name, if it belongs to the newest sandbox.
    pub(crate) fn current<'a>(&'a self, name: &'a str) -> Option<&'a ContainerRecord> {
        let sandbox = self.sandbox()?;
        self.latest(name).filter(|c| c.sandbox_id == sandbox.id)
    }

    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.sandboxes.is_empty() && self.containers.is_empty()
    }

    /// Whether a process of any container runs.
    pub(crate) fn any_running(&self) -> bool {
        self.containers.iter().any(ContainerRecord::running)
    }
}

/// CRI's nanoseconds since 1970.
pub(crate) fn timestamp(nanos: i64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// A sandbox's record from its status.
pub(crate) fn sandbox_record(status: &v1::PodSandboxStatus) -> SandboxRecord {
    let network = status.network.as_ref();
    let first = network.map(|n| n.ip.clone()).filter(|ip| !ip.is_empty());
    let more = network.into_iter().flat_map(|n| n.additional_ips.iter().map(|i| i.ip.clone()));
    SandboxRecord {
        id: status.id.clone(),
        attempt: status.metadata.as_ref().map_or(0, |m| m.attempt),
        created_at: timestamp(status.created_at),
        ready: status.state() == v1::PodSandboxState::SandboxReady,
        ips: first.into_iter().chain(more).collect(),
    }
}

/// A container's record from its status.
pub(crate) fn container_record(sandbox_id: &str, status: &v1::ContainerStatus) -> ContainerRecord {
    let annotation = |key: &str| status.annotations.get(key).cloned().unwrap_or_default();
    let metadata = status.metadata.clone().unwrap_or_default();
    ContainerRecord {
        id: status.id.clone(),
        sandbox_id: sandbox_id.to_owned(),
        name: status.labels.get(names::CONTAINER_NAME).cloned().unwrap_or(metadata.name),
        restart_count: annotation(names::RESTART_COUNT).parse().unwrap_or(metadata.attempt),
        life: match status.state() {
            v1::ContainerState::ContainerCreated => Life::Created,
            v1::ContainerState::ContainerRunning => Life::Running,
            v1::ContainerState::ContainerExited => Life::Exited,
            v1::ContainerState::ContainerUnknown => Life::Unknown,
        },
        created_at: timestamp(status.created_at),
        started_at: timestamp(status.started_at),
        finished_at: timestamp(status.finished_at),
        exit_code: status.exit_code,
        reason: status.reason.clone(),
        message: status.message.clone(),
        image: status
            .image
            .as_ref()
            .map(|i| if i.user_specified_image.is_empty() { &i.image } else { &i.user_specified_image })
            .cloned()
            .unwrap_or_default(),
        image_id: if status.image_ref.is_empty() {
            status.image_id.clone()
        } else {
            status.image_ref.clone()
        },
        hash: annotation(names::CONTAINER_HASH),
        log_path: status.log_path.clone(),
        user: status.user.as_ref().and_then(|u| u.linux.clone()),
    }
}
