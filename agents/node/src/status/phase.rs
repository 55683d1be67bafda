//! `status.phase`, from container statuses, as upstream's `getPhase` derives it.

use k8s_openapi::api::core::v1::{ContainerStatus, PodStatus};

use crate::runtime_state::ContainerRecord;
use crate::spec::containers::{self, Role};
use crate::worker::{PodView, init_done, may_restart, regular_created};

#[derive(Default)]
struct Counts {
    unknown: usize,
    running: usize,
    waiting: usize,
    stopped: usize,
    succeeded: usize,
}

/// The phase of a pod that has not reached a terminal one. `ended`: it was deleted and nothing of it runs.
pub(super) fn phase(view: &PodView<'_>, status: &PodStatus, ended: bool) -> &'static str {
    let counts = count(view, status);
    if crate::worker::init_failed(view) {
        return "Failed";
    }
    if ended {
        let all_well = counts.stopped > 0 && counts.stopped == counts.succeeded && counts.waiting == 0;
        return if all_well && counts.unknown == 0 { "Succeeded" } else { "Failed" };
    }
    let initialised = regular_created(view)
        || containers::all(view.pod)
            .iter()
            .filter(|c| matches!(c.role, Role::Init | Role::Sidecar))
            .all(|c| init_done(view, c.role, &c.container));
    if !initialised || counts.waiting > 0 {
        return "Pending";
    }
    if counts.running > 0 && counts.unknown == 0 {
        return "Running";
    }
    if counts.running == 0 && counts.stopped > 0 && counts.unknown == 0 {
        let again = containers::all(view.pod)
            .iter()
            .any(|c| c.role == Role::App && may_restart(view, Role::App, view.runtime.latest(c.name())));
        if again {
            return "Running";
        }
        // A sidecar that still runs keeps the pod running.
        let sidecar_runs = containers::all(view.pod).iter().any(|c| {
            c.role == Role::Sidecar && view.runtime.latest(c.name()).is_some_and(ContainerRecord::running)
        });
        if sidecar_runs {
            return "Running";
        }
        return if counts.stopped == counts.succeeded { "Succeeded" } else { "Failed" };
    }
    "Pending"
}

fn count(view: &PodView<'_>, status: &PodStatus) -> Counts {
    let mut counts = Counts::default();
    for declared in containers::all(view.pod).iter().filter(|c| c.role == Role::App) {
        let own = status.container_statuses.iter().flatten().find(|s| s.name == declared.name());
        match own {
            Some(status) => count_one(status, &mut counts),
            None => counts.unknown += 1,
        }
    }
    counts
}

fn count_one(status: &ContainerStatus, counts: &mut Counts) {
    let Some(state) = &status.state else {
        counts.unknown += 1;
        return;
    };
    if state.running.is_some() {
        counts.running += 1;
    } else if let Some(terminated) = &state.terminated {
        counts.stopped += 1;
        counts.succeeded += usize::from(terminated.exit_code == 0);
    } else if status.last_state.as_ref().is_some_and(|l| l.terminated.is_some()) {
        counts.stopped += 1;
    } else {
        counts.waiting += 1;
    }
}
