//! Shared readings of a pod's life: does it end, is it initialised, may a container run again. Pure.

use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::jiff::Timestamp;
use mainstay_agents_kit::time::plus;

use super::view::{Failure, PodView};
use crate::runtime_state::ContainerRecord;
use crate::spec::containers::{self, Role};

/// Why a pod ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Deleted in the API, or gone from it.
    Deleted,
    /// Refused, or stopped by the node.
    Failed(Failure),
    /// Every container has done its work, or none may run again.
    Complete,
}

/// Whether and why the pod ends.
pub(crate) fn ending(view: &PodView<'_>) -> Option<Ending> {
    if view.memory.gone || view.pod.metadata.deletion_timestamp.is_some() {
        return Some(Ending::Deleted);
    }
    if let Some(failure) = &view.memory.rejected {
        return Some(Ending::Failed(failure.clone()));
    }
    if terminal_phase(view).is_some() {
        return Some(Ending::Complete);
    }
    if deadline(view).is_some_and(|at| at <= view.now) {
        return Some(Ending::Failed(Failure {
            reason: "DeadlineExceeded".to_owned(),
            message: "Pod was active on the node longer than the specified deadline".to_owned(),
        }));
    }
    finished(view).then_some(Ending::Complete)
}

/// `Succeeded` or `Failed`, once the pod has reached it: it never leaves it.
pub(crate) fn terminal_phase<'a>(view: &PodView<'a>) -> Option<&'a str> {
    let own = view.memory.status.as_ref().and_then(|s| s.phase.as_deref());
    let stored = view.pod.status.as_ref().and_then(|s| s.phase.as_deref());
    [own, stored].into_iter().flatten().find(|p| matches!(*p, "Succeeded" | "Failed"))
}

/// When the pod's active deadline passes.
pub(crate) fn deadline(view: &PodView<'_>) -> Option<Timestamp> {
    let seconds = view.pod.spec.as_ref()?.active_deadline_seconds?;
    let seconds = std::time::Duration::from_secs(u64::try_from(seconds).ok()?);
    Some(plus(start_time(view)?, seconds))
}

/// `status.startTime`, or when the agent first saw the pod.
pub(crate) fn start_time(view: &PodView<'_>) -> Option<Timestamp> {
    let stored = view.pod.status.as_ref().and_then(|s| s.start_time.as_ref()).map(|t| t.0);
    stored.or(view.memory.first_seen)
}

/// No regular container will run again, or an init container failed for good.
fn finished(view: &PodView<'_>) -> bool {
    let declared = containers::all(view.pod);
    if init_failed(view) {
        return true;
    }
    let mut regular = declared.iter().filter(|c| c.role == Role::App).peekable();
    regular.peek().is_some()
        && regular.all(|c| {
            view.runtime
                .latest(c.name())
                .is_some_and(|r| r.exited() && !may_restart(view, Role::App, Some(r)))
        })
}

/// An init container failed and the pod may not retry it.
pub(crate) fn init_failed(view: &PodView<'_>) -> bool {
    containers::all(view.pod).iter().any(|c| {
        let last = view.runtime.current(c.name()).filter(|r| r.exited() && r.exit_code != 0);
        c.role == Role::Init && last.is_some_and(|r| !may_restart(view, Role::Init, Some(r)))
    })
}

/// Whether policy allows another run after `last`.
pub(crate) fn may_restart(view: &PodView<'_>, role: Role, last: Option<&ContainerRecord>) -> bool {
    let Some(last) = last else { return true };
    match role {
        Role::Sidecar => true,
        Role::Ephemeral => false,
        Role::Init => last.exit_code != 0 && policy(view, last) != "Never",
        Role::App => match policy(view, last) {
            "Never" => false,
            "OnFailure" => last.exit_code != 0,
            _ => true,
        },
    }
}

/// The restart policy that counts after `last`: a matching rule of its container, the container's own, the pod's.
fn policy<'a>(view: &PodView<'a>, last: &ContainerRecord) -> &'a str {
    let spec = view.pod.spec.as_ref();
    let all = spec.into_iter().flat_map(|s| s.init_containers.iter().flatten().chain(&s.containers));
    let own = all.into_iter().find(|c| c.name == last.name);
    let rules = own.and_then(|c| c.restart_policy_rules.as_deref()).unwrap_or_default();
    let matched = rules.iter().find(|rule| {
        rule.exit_codes.as_ref().is_some_and(|codes| {
            let listed = codes.values.iter().flatten().any(|code| *code == last.exit_code);
            if codes.operator == "NotIn" { !listed } else { listed }
        })
    });
    if matched.is_some_and(|rule| rule.action == "Restart") {
        return "Always";
    }
    own.and_then(|c| c.restart_policy.as_deref()).unwrap_or_else(|| containers::restart_policy(view.pod))
}

/// Whether a regular container was made in the current sandbox: initialisation is behind the pod.
pub(crate) fn regular_created(view: &PodView<'_>) -> bool {
    containers::all(view.pod).iter().any(|c| c.role == Role::App && view.runtime.current(c.name()).is_some())
}

/// Whether an init container has ended well, or a sidecar has started, in the current sandbox.
pub(crate) fn init_done(view: &PodView<'_>, role: Role, container: &Container) -> bool {
    match (role, view.runtime.current(&container.name)) {
        (Role::Init, Some(record)) => record.exited() && record.exit_code == 0,
        (Role::Sidecar, Some(record)) => started(view, container, record),
        _ => false,
    }
}

/// `started` of a container status: it runs, its `postStart` hook is done and its startup probe has passed.
pub(crate) fn started(view: &PodView<'_>, container: &Container, record: &ContainerRecord) -> bool {
    if !record.running() {
        return false;
    }
    let memory = view.memory.container(&container.name);
    if has_post_start(container) && memory.and_then(|m| m.hook_done.as_deref()) != Some(record.id.as_str()) {
        return false;
    }
    container.startup_probe.is_none() || memory.is_some_and(|m| m.probes_of(&record.id).startup == Some(true))
}

/// Whether the container's `postStart` must end before it counts as started.
pub(crate) fn has_post_start(container: &Container) -> bool {
    container.lifecycle.as_ref().is_some_and(|l| l.post_start.is_some())
}

/// `ready` of a container status.
pub(crate) fn ready(
    view: &PodView<'_>,
    role: Role,
    container: &Container,
    record: Option<&ContainerRecord>,
) -> bool {
    let Some(record) = record else { return false };
    if role == Role::Init {
        return record.exited() && record.exit_code == 0;
    }
    if !started(view, container, record) {
        return false;
    }
    container.readiness_probe.is_none()
        || view
            .memory
            .container(&container.name)
            .is_some_and(|m| m.probes_of(&record.id).readiness == Some(true))
}

/// Seconds a pod has to end.
pub(crate) fn pod_grace(view: &PodView<'_>) -> i64 {
    let meta = view.pod.metadata.deletion_grace_period_seconds;
    let spec = view.pod.spec.as_ref().and_then(|s| s.termination_grace_period_seconds);
    meta.or(spec).unwrap_or(30).max(0)
}

/// Seconds a container has to end after `probe` failed.
pub(crate) fn probe_grace(view: &PodView<'_>, probe: Option<&Probe>) -> i64 {
    probe.and_then(|p| p.termination_grace_period_seconds).unwrap_or_else(|| pod_grace(view)).max(0)
}
