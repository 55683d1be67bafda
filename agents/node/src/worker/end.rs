//! The end of a pod: containers in order, sandbox, volumes, the API object. Pure.

use std::time::Duration;

use mainstay_agents_kit::time::elapsed;

use super::lifecycle::{self, Ending};
use super::plan::{push_kill, push_stop};
use super::step::{KillWhy, PodStep};
use super::view::{Op, PodView, VolumesState};
use crate::runtime_state::ContainerRecord;
use crate::spec::containers::{self, Role};

/// A sidecar that waited for the others still gets this long.
const GRACE_LEFT_MIN: i64 = 2;

/// The next steps of a pod that ends.
pub(super) fn plan_end(view: &PodView<'_>, ending: &Ending, steps: &mut Vec<PodStep>) {
    let memory = view.memory;
    // A start that is under way either ends or is dropped by the worker; until then nothing is final.
    if plan_kills(view, steps) || memory.in_flight.contains(&Op::Start) {
        return;
    }
    let ready: Vec<_> = view.runtime.sandboxes.iter().filter(|s| s.ready).collect();
    for sandbox in &ready {
        push_stop(view, &sandbox.id, steps);
    }
    if !ready.is_empty() || memory.in_flight.contains(&Op::Sandbox) {
        return;
    }
    let unmounted = memory.volumes == VolumesState::Removed;
    if !unmounted && !memory.in_flight.contains(&Op::Volumes) {
        steps.push(PodStep::UnmountVolumes);
    }
    if *ending != Ending::Deleted || !unmounted {
        return;
    }
    let api_done = memory.gone || memory.deleted;
    if !api_done {
        if memory.final_status_written && !memory.in_flight.contains(&Op::Delete) {
            steps.push(PodStep::DeletePod);
        }
        return;
    }
    plan_forget(view, steps);
}

/// Kills what runs; true while something does.
fn plan_kills(view: &PodView<'_>, steps: &mut Vec<PodStep>) -> bool {
    let grace = lifecycle::pod_grace(view);
    let declared = containers::all(view.pod);
    let sidecars: Vec<&str> =
        declared.iter().filter(|c| c.role == Role::Sidecar).map(containers::Declared::name).collect();
    let is_sidecar = |r: &&ContainerRecord| sidecars.contains(&r.name.as_str());
    let running = || view.runtime.containers.iter().filter(|c| c.running());
    let mut others = running().filter(|r| !is_sidecar(r)).peekable();
    if others.peek().is_some() {
        for record in others {
            push_kill(view, record, grace, KillWhy::PodEnds, steps);
        }
        return true;
    }
    // Sidecars end one by one, the last declared first, in what is left of the pod's time.
    for name in sidecars.iter().rev() {
        let mut own = running().filter(|r| r.name == *name).peekable();
        if own.peek().is_some() {
            let left =
                view.memory.ending_since.map_or(grace, |since| left_of(grace, elapsed(since, view.now)));
            for record in own {
                push_kill(view, record, left, KillWhy::PodEnds, steps);
            }
            return true;
        }
    }
    false
}

fn left_of(grace: i64, used: Duration) -> i64 {
    let used = i64::try_from(used.as_secs()).unwrap_or(i64::MAX);
    grace.saturating_sub(used).max(GRACE_LEFT_MIN.min(grace))
}

/// Removes what the runtime still has, then ends the worker.
fn plan_forget(view: &PodView<'_>, steps: &mut Vec<PodStep>) {
    if view.runtime.is_empty() {
        if view.memory.in_flight.is_empty() {
            steps.push(PodStep::Forget);
        }
        return;
    }
    for sandbox in &view.runtime.sandboxes {
        if !view.memory.in_flight.contains(&Op::Remove(sandbox.id.clone())) {
            steps.push(PodStep::RemoveSandbox { id: sandbox.id.clone() });
        }
    }
    if view.runtime.sandboxes.is_empty() {
        for record in &view.runtime.containers {
            super::plan::push_remove(view, record, steps);
        }
    }
}
