//! One container's status.

use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    ContainerUser, LinuxContainerUser, PodStatus,
};
use k8s_openapi::jiff::Timestamp;
use mainstay_agents_kit::time::time;

use crate::runtime_state::{ContainerRecord, Life};
use crate::spec::containers::{self, Declared, Role};
use crate::spec::security::pod_label;
use crate::worker::{PodView, crash_wait, may_restart, ready, started};

/// A container id as the API shows it.
pub(crate) fn container_id(id: &str) -> String {
    format!("mainstay://{id}")
}

/// The status of one declared container. `ending`: the pod is coming to its end, nothing starts again.
pub(super) fn container_status(view: &PodView<'_>, declared: &Declared<'_>, ending: bool) -> ContainerStatus {
    let name = declared.name();
    let record = view.runtime.latest(name);
    let previous = view.runtime.named(name).nth(1);
    let container = &declared.container;
    let mut status = ContainerStatus {
        name: name.to_owned(),
        image: container.image.clone().unwrap_or_default(),
        ready: ready(view, declared.role, container, record),
        started: Some(record.is_some_and(|r| started(view, container, r))),
        last_state: Some(ContainerState::default()),
        ..ContainerStatus::default()
    };
    let Some(record) = record else {
        let failure = view.memory.container(name).and_then(|m| m.failure.as_ref());
        if let Some(old) = last_known(view, name).filter(|s| s.container_id.is_some()) {
            return lost(view, old, ending, declared.role, status);
        }
        status.state = Some(match failure {
            Some(retry) => waiting(&retry.failure.reason, &retry.failure.message),
            None => waiting(default_reason(view, declared.role), ""),
        });
        return status;
    };
    status.container_id = Some(container_id(&record.id));
    status.image_id.clone_from(&record.image_id);
    status.restart_count = i32::try_from(record.restart_count).unwrap_or(i32::MAX);
    status.user = record.user.as_ref().map(user);
    status.resources.clone_from(&container.resources);
    status.allocated_resources = container.resources.as_ref().and_then(|r| r.requests.clone());
    if !record.image.is_empty() {
        status.image.clone_from(&record.image);
    }
    if let Some(previous) = previous.filter(|p| p.exited()) {
        status.last_state = Some(terminated(previous));
    }
    state(view, declared, record, ending, &mut status);
    status
}

fn state(
    view: &PodView<'_>,
    declared: &Declared<'_>,
    record: &ContainerRecord,
    ending: bool,
    status: &mut ContainerStatus,
) {
    match record.life {
        Life::Running => {
            status.state = Some(ContainerState {
                running: Some(ContainerStateRunning { started_at: Some(time(record.started_at)) }),
                ..ContainerState::default()
            });
        }
        Life::Created => {
            let reason = default_reason(view, declared.role);
            status.state = Some(waiting(reason, ""));
        }
        Life::Exited | Life::Unknown => {
            status.state = Some(terminated(record));
            if ending || !may_restart(view, declared.role, Some(record)) {
                return;
            }
            let memory = view.memory.container(declared.name());
            let held = if let Some(retry) = memory.and_then(|m| m.failure.as_ref()) {
                Some(waiting(&retry.failure.reason, &retry.failure.message))
            } else {
                crash_wait(view, Some(record)).map(|_| crash_state(view, declared.name()))
            };
            if let Some(held) = held {
                status.last_state = status.state.take();
                status.state = Some(held);
            }
        }
    }
}

fn crash_state(view: &PodView<'_>, name: &str) -> ContainerState {
    let delay = view.memory.container(name).and_then(|m| m.crash).map(|d| d.delay).unwrap_or_default();
    waiting(
        "CrashLoopBackOff",
        &format!(
            "back-off {} restarting failed container={name} pod={}",
            go_duration(delay.as_secs()),
            pod_label(view.pod)
        ),
    )
}

/// Whole seconds as Go prints a duration: `10s`, `2m40s`, `5m0s`.
fn go_duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{}s", seconds / 60, seconds % 60),
        _ => format!("{}h{}m{}s", seconds / 3600, seconds % 3600 / 60, seconds % 60),
    }
}

/// The API shows a run that the runtime has forgotten.
fn lost(
    view: &PodView<'_>,
    old: &ContainerStatus,
    ending: bool,
    role: Role,
    mut status: ContainerStatus,
) -> ContainerStatus {
    let old_state = old.state.clone().unwrap_or_default();
    let gone = if old_state.terminated.is_some() {
        old_state.clone()
    } else {
        let message = if ending {
            "The container could not be located when the pod was terminated"
        } else {
            "The container could not be located when the pod was deleted.  The container used to be Running"
        };
        ContainerState {
            terminated: Some(ContainerStateTerminated {
                exit_code: 137,
                reason: Some("ContainerStatusUnknown".to_owned()),
                message: Some(message.to_owned()),
                ..ContainerStateTerminated::default()
            }),
            ..ContainerState::default()
        }
    };
    status.restart_count = old.restart_count;
    let final_state = ending || (role == Role::Init && old_state.terminated.is_some());
    if old_state.waiting.is_some() {
        status.state = Some(old_state);
        status.last_state.clone_from(&old.last_state);
    } else if final_state {
        status.state = Some(gone);
        status.container_id.clone_from(&old.container_id);
        status.image_id.clone_from(&old.image_id);
        status.ready = role == Role::Init && old.ready;
    } else {
        status.last_state = Some(gone);
        status.state = Some(waiting(default_reason(view, role), ""));
    }
    status
}

fn last_known<'a>(view: &PodView<'a>, name: &str) -> Option<&'a ContainerStatus> {
    let find = |status: &'a PodStatus| {
        let all =
            status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten());
        all.chain(status.ephemeral_container_statuses.iter().flatten()).find(|s| s.name == name)
    };
    view.memory.status.as_ref().and_then(find).or_else(|| view.pod.status.as_ref().and_then(find))
}

fn default_reason(view: &PodView<'_>, role: Role) -> &'static str {
    let has_init = containers::all(view.pod).iter().any(|c| matches!(c.role, Role::Init | Role::Sidecar));
    if has_init && role != Role::Ephemeral { "PodInitializing" } else { "ContainerCreating" }
}

fn waiting(reason: &str, message: &str) -> ContainerState {
    ContainerState {
        waiting: Some(ContainerStateWaiting {
            reason: Some(reason.to_owned()),
            message: (!message.is_empty()).then(|| message.to_owned()),
        }),
        ..ContainerState::default()
    }
}

fn terminated(record: &ContainerRecord) -> ContainerState {
    let known = |at: Timestamp| (at > Timestamp::UNIX_EPOCH).then(|| time(at));
    let reason = match record.reason.as_str() {
        "" if record.exit_code == 0 => "Completed",
        "" => "Error",
        reason => reason,
    };
    ContainerState {
        terminated: Some(ContainerStateTerminated {
            container_id: Some(container_id(&record.id)),
            exit_code: record.exit_code,
            reason: Some(reason.to_owned()),
            message: (!record.message.is_empty()).then(|| record.message.clone()),
            started_at: known(record.started_at),
            finished_at: known(record.finished_at),
            signal: None,
        }),
        ..ContainerState::default()
    }
}

fn user(user: &mainstay_proto_wire::cri::v1::LinuxContainerUser) -> ContainerUser {
    ContainerUser {
        linux: Some(LinuxContainerUser {
            uid: user.uid,
            gid: user.gid,
            supplemental_groups: Some(user.supplemental_groups.clone()),
        }),
    }
}
