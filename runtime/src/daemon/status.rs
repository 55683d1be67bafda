//! Sandboxes and containers in CRI's words, and which of them a filter wants.

use super::runtime::{Container, Phase, Sandbox};
use mainstay_proto_wire::cri::v1;
use std::collections::BTreeMap;

pub(super) fn sandbox_state(sandbox: &Sandbox) -> v1::PodSandboxState {
    if sandbox.ready() { v1::PodSandboxState::SandboxReady } else { v1::PodSandboxState::SandboxNotready }
}

pub(super) fn sandbox_status(sandbox: &Sandbox) -> v1::PodSandboxStatus {
    let record = sandbox.record.lock().clone();
    let config = &sandbox.config;
    let context = config.linux.as_ref().and_then(|linux| linux.security_context.clone());
    v1::PodSandboxStatus {
        id: record.id,
        metadata: config.metadata.clone(),
        state: sandbox_state(sandbox).into(),
        created_at: record.created_at,
        network: Some(v1::PodSandboxNetworkStatus {
            ip: record.address.map(|address| address.to_string()).unwrap_or_default(),
            additional_ips: Vec::new(),
        }),
        linux: Some(v1::LinuxPodSandboxStatus {
            namespaces: Some(v1::Namespace {
                options: context.and_then(|context| context.namespace_options),
            }),
        }),
        labels: config.labels.clone(),
        annotations: config.annotations.clone(),
        runtime_handler: String::new(),
    }
}

pub(super) fn sandbox_summary(sandbox: &Sandbox) -> v1::PodSandbox {
    let record = sandbox.record.lock().clone();
    v1::PodSandbox {
        id: record.id,
        metadata: sandbox.config.metadata.clone(),
        state: sandbox_state(sandbox).into(),
        created_at: record.created_at,
        labels: sandbox.config.labels.clone(),
        annotations: sandbox.config.annotations.clone(),
        runtime_handler: String::new(),
    }
}

pub(super) fn sandbox_wanted(sandbox: &v1::PodSandbox, filter: Option<&v1::PodSandboxFilter>) -> bool {
    filter.is_none_or(|filter| {
        (filter.id.is_empty() || filter.id == sandbox.id)
            && filter.state.as_ref().is_none_or(|state| state.state == sandbox.state)
            && labels_match(&filter.label_selector, &sandbox.labels)
    })
}

pub(super) fn container_state(container: &Container) -> v1::ContainerState {
    match container.phase() {
        Phase::Created => v1::ContainerState::ContainerCreated,
        Phase::Running { .. } => v1::ContainerState::ContainerRunning,
        Phase::Exited { .. } => v1::ContainerState::ContainerExited,
    }
}

pub(super) fn container_status(container: &Container) -> v1::ContainerStatus {
    let (record, config) = (&container.record, container.config.lock().clone());
    let mut status = v1::ContainerStatus {
        id: record.id.clone(),
        metadata: config.metadata,
        state: container_state(container).into(),
        created_at: record.created_at,
        image: config.image,
        image_ref: record.image_ref.clone(),
        image_id: record.image_id.clone(),
        labels: config.labels,
        annotations: config.annotations,
        mounts: config.mounts,
        log_path: record.log_path.clone().unwrap_or_default(),
        resources: Some(v1::ContainerResources { linux: config.linux.and_then(|linux| linux.resources) }),
        user: Some(v1::ContainerUser {
            linux: Some(v1::LinuxContainerUser {
                uid: record.uid.into(),
                gid: record.gid.into(),
                supplemental_groups: record.groups.iter().map(|group| i64::from(*group)).collect(),
            }),
        }),
        stop_signal: config.stop_signal,
        ..v1::ContainerStatus::default()
    };
    match container.phase() {
        Phase::Created => {}
        Phase::Running { started_at, .. } => status.started_at = started_at,
        Phase::Exited { started_at, exit } => {
            status.started_at = started_at;
            status.finished_at = exit.finished_at;
            status.exit_code = exit.code;
            status.message = exit.message.unwrap_or_default();
            let by_code = if exit.code == 0 { "Completed" } else { "Error" };
            let by_memory = exit.oom_killed.then(|| "OOMKilled".to_owned());
            status.reason = by_memory.or(exit.reason).unwrap_or_else(|| by_code.to_owned());
        }
    }
    status
}

pub(super) fn container_summary(container: &Container) -> v1::Container {
    let (record, config) = (&container.record, container.config.lock().clone());
    v1::Container {
        id: record.id.clone(),
        pod_sandbox_id: record.sandbox.clone(),
        metadata: config.metadata,
        image: config.image,
        image_ref: record.image_ref.clone(),
        image_id: record.image_id.clone(),
        state: container_state(container).into(),
        created_at: record.created_at,
        labels: config.labels,
        annotations: config.annotations,
    }
}

pub(super) fn container_wanted(container: &v1::Container, filter: Option<&v1::ContainerFilter>) -> bool {
    filter.is_none_or(|filter| {
        (filter.id.is_empty() || filter.id == container.id)
            && (filter.pod_sandbox_id.is_empty() || filter.pod_sandbox_id == container.pod_sandbox_id)
            && filter.state.as_ref().is_none_or(|state| state.state == container.state)
            && labels_match(&filter.label_selector, &container.labels)
    })
}

pub(super) fn labels_match(wanted: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}
