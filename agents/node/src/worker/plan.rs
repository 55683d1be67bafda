//! The decision: what to do next for a pod. Pure; follows upstream's `computePodActions`, with one difference in
//! shape: steps are emitted until they are in flight or done, so the same view always gives the same plan.

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::jiff::Timestamp;

use super::backoff;
use super::end::plan_end;
use super::lifecycle::{self, may_restart};
use super::step::{KillWhy, PodStep};
use super::view::{Op, PodView, VolumesState};
use crate::runtime_state::{ContainerRecord, Life};
use crate::spec::containers::{self, Declared, Role};

/// How many dead containers of one name are kept beside the newest one, for `logs --previous`.
const DEAD_KEPT: usize = 1;

/// The next steps of the pod. Empty: wait for something to change.
pub(crate) fn plan(view: &PodView<'_>) -> Vec<PodStep> {
    let mut steps = Vec::new();
    if let Some(ending) = lifecycle::ending(view) {
        plan_end(view, &ending, &mut steps);
        return steps;
    }
    if let Some(at) = lifecycle::deadline(view) {
        steps.push(PodStep::Wake { at });
    }
    plan_volumes(view, &mut steps);
    if plan_sandbox(view, &mut steps) && view.memory.volumes == VolumesState::Mounted {
        plan_containers(view, &mut steps);
    }
    plan_removals(view, &mut steps);
    steps
}

fn plan_volumes(view: &PodView<'_>, steps: &mut Vec<PodStep>) {
    if view.memory.in_flight.contains(&Op::Volumes) {
        return;
    }
    match &view.memory.volumes {
        VolumesState::Mounted => match view.memory.volumes_due {
            Some(at) if view.now < at => steps.push(PodStep::Wake { at }),
            Some(_) => steps.push(PodStep::MountVolumes),
            None => {}
        },
        VolumesState::Failed(retry) if view.now < retry.at => steps.push(PodStep::Wake { at: retry.at }),
        _ => steps.push(PodStep::MountVolumes),
    }
}

/// True when there is a sandbox that containers can be made in.
fn plan_sandbox(view: &PodView<'_>, steps: &mut Vec<PodStep>) -> bool {
    let newest = view.runtime.sandbox();
    let host_network = view.pod.spec.as_ref().is_some_and(|s| s.host_network == Some(true));
    if newest.is_some_and(|s| s.ready && (host_network || !s.ips.is_empty())) {
        for old in view.runtime.sandboxes.iter().skip(1).filter(|s| s.ready) {
            push_stop(view, &old.id, steps);
        }
        return true;
    }
    if view.memory.in_flight.contains(&Op::Sandbox) {
        return false;
    }
    for record in view.runtime.containers.iter().filter(|c| c.running()) {
        push_kill(view, record, lifecycle::pod_grace(view), KillWhy::SandboxGone, steps);
    }
    if view.runtime.any_running() || matches!(view.memory.volumes, VolumesState::Failed(_)) {
        return false;
    }
    match &view.memory.sandbox_failure {
        Some(retry) if view.now < retry.at => steps.push(PodStep::Wake { at: retry.at }),
        _ => steps.push(PodStep::CreateSandbox {
            attempt: newest.map_or(0, |s| s.attempt.saturating_add(1)),
            stop: newest.map(|s| s.id.clone()),
        }),
    }
    false
}

fn plan_containers(view: &PodView<'_>, steps: &mut Vec<PodStep>) {
    let declared = containers::all(view.pod);
    let mut starts = Starts { view, steps, taken: view.memory.in_flight.contains(&Op::Start) };
    for container in declared.iter().filter(|c| c.role == Role::Ephemeral) {
        if view.runtime.latest(container.name()).is_none() {
            starts.offer(container);
        }
    }
    let initialised = lifecycle::regular_created(view);
    let mut open = true;
    for container in declared.iter().filter(|c| matches!(c.role, Role::Init | Role::Sidecar)) {
        if initialised && container.role == Role::Init {
            continue;
        }
        let done = lifecycle::init_done(view, container.role, &container.container);
        if container.role == Role::Sidecar || !done {
            keep_running(container, &mut starts);
        }
        if !done && !initialised {
            open = false;
            break;
        }
    }
    if open {
        for container in declared.iter().filter(|c| c.role == Role::App) {
            keep_running(container, &mut starts);
        }
    }
}

/// Kills the container when it must not run as it does, starts it when it should run and does not.
fn keep_running(declared: &Declared<'_>, starts: &mut Starts<'_, '_>) {
    let view = starts.view;
    let record = if declared.role == Role::App {
        view.runtime.latest(declared.name())
    } else {
        view.runtime.current(declared.name())
    };
    match record {
        Some(record) if record.running() => {
            if let Some((why, grace)) = must_die(view, declared, record) {
                push_kill(view, record, grace, why, starts.steps);
            }
        }
        // The agent ended between create and start: make it anew.
        Some(record) if record.life == Life::Created => {
            if !starts.taken {
                push_remove(view, record, starts.steps);
            }
        }
        record => {
            let in_sandbox = record.filter(|r| view.runtime.current(&r.name).is_some());
            let again = match record {
                Some(r) if in_sandbox.is_none() && declared.role == Role::App => {
                    r.exit_code != 0 || containers::restart_policy(view.pod) == "Always"
                }
                other => may_restart(view, declared.role, other),
            };
            if again {
                starts.offer(declared);
            }
        }
    }
}

fn must_die(view: &PodView<'_>, declared: &Declared<'_>, record: &ContainerRecord) -> Option<(KillWhy, i64)> {
    let container: &Container = &declared.container;
    if !record.hash.is_empty() && record.hash != containers::hash(container) && declared.role != Role::Init {
        return Some((KillWhy::Changed, lifecycle::pod_grace(view)));
    }
    let results = view.memory.container(&container.name)?.probes_of(&record.id);
    if results.startup == Some(false) {
        return Some((KillWhy::Startup, lifecycle::probe_grace(view, container.startup_probe.as_ref())));
    }
    if results.liveness == Some(false) {
        return Some((KillWhy::Liveness, lifecycle::probe_grace(view, container.liveness_probe.as_ref())));
    }
    None
}

/// Starts are offered in order; the first that may go takes the turn.
struct Starts<'a, 'v> {
    view: &'a PodView<'v>,
    steps: &'a mut Vec<PodStep>,
    taken: bool,
}

impl Starts<'_, '_> {
    fn offer(&mut self, declared: &Declared<'_>) {
        let view = self.view;
        let name = declared.name();
        let memory = view.memory.container(name);
        if let Some(retry) = memory.and_then(|m| m.failure.as_ref())
            && view.now < retry.at
        {
            self.steps.push(PodStep::Wake { at: retry.at });
            return;
        }
        let last = view.runtime.latest(name);
        if let Some(until) = crash_wait(view, last) {
            self.steps.push(PodStep::BackOff { name: name.to_owned(), until });
            return;
        }
        if !self.taken {
            self.taken = true;
            self.steps.push(PodStep::StartContainer {
                name: name.to_owned(),
                restart_count: restart_count(view.pod, name, last),
            });
        }
    }
}

/// Until when a crashed container waits.
pub(crate) fn crash_wait(view: &PodView<'_>, last: Option<&ContainerRecord>) -> Option<Timestamp> {
    let last = last.filter(|r| r.exited())?;
    let delay = view.memory.container(&last.name)?.crash.as_ref();
    backoff::wait_until(delay, last.finished_at, view.now)
}

/// One more than the newest run; the API's count when the runtime has forgotten it.
fn restart_count(pod: &Pod, name: &str, last: Option<&ContainerRecord>) -> u32 {
    if let Some(last) = last {
        return last.restart_count.saturating_add(1);
    }
    let Some(status) = &pod.status else { return 0 };
    let all =
        status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten());
    all.filter(|s| s.name == name && s.container_id.is_some())
        .map(|s| u32::try_from(s.restart_count).unwrap_or(0).saturating_add(1))
        .next()
        .unwrap_or(0)
}

/// Old containers and sandboxes of a pod that runs.
fn plan_removals(view: &PodView<'_>, steps: &mut Vec<PodStep>) {
    for container in containers::all(view.pod) {
        let dead = view.runtime.named(container.name()).skip(1).filter(|c| c.exited());
        for record in dead.skip(DEAD_KEPT) {
            push_remove(view, record, steps);
        }
    }
    for sandbox in view.runtime.sandboxes.iter().skip(1).filter(|s| !s.ready) {
        let used = view.runtime.containers.iter().any(|c| c.sandbox_id == sandbox.id);
        if !used && !view.memory.in_flight.contains(&Op::Remove(sandbox.id.clone())) {
            steps.push(PodStep::RemoveSandbox { id: sandbox.id.clone() });
        }
    }
}

/// Kills `record` unless a kill with no more grace is in flight.
pub(super) fn push_kill(
    view: &PodView<'_>,
    record: &ContainerRecord,
    grace_seconds: i64,
    why: KillWhy,
    steps: &mut Vec<PodStep>,
) {
    let running = view.memory.in_flight.contains(&Op::Kill(record.id.clone()));
    let shorter = view.memory.kill_grace.get(&record.id).is_some_and(|old| grace_seconds < *old);
    if !running || (why == KillWhy::PodEnds && shorter) {
        steps.push(PodStep::KillContainer {
            id: record.id.clone(),
            name: record.name.clone(),
            grace_seconds,
            why,
        });
    }
}

pub(super) fn push_remove(view: &PodView<'_>, record: &ContainerRecord, steps: &mut Vec<PodStep>) {
    if !view.memory.in_flight.contains(&Op::Remove(record.id.clone())) {
        steps.push(PodStep::RemoveContainer { id: record.id.clone(), name: record.name.clone() });
    }
}

pub(super) fn push_stop(view: &PodView<'_>, id: &str, steps: &mut Vec<PodStep>) {
    if !view.memory.in_flight.contains(&Op::Kill(id.to_owned())) {
        steps.push(PodStep::StopSandbox { id: id.to_owned() });
    }
}
