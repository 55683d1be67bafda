//! The pod conditions that the node owns.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use mainstay_agents_kit::time::time;

use crate::spec::containers::{self, Role};
use crate::worker::{PodView, init_done, regular_created};

/// A condition before its times are known.
struct Verdict {
    kind: &'static str,
    holds: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

impl Verdict {
    fn yes(kind: &'static str) -> Self {
        Self { kind, holds: true, reason: None, message: None }
    }

    fn no(kind: &'static str, reason: &'static str, message: Option<String>) -> Self {
        Self { kind, holds: false, reason: Some(reason), message }
    }
}

/// The conditions in the order upstream writes them; transition times change only with the status.
pub(super) fn conditions(view: &PodView<'_>, status: &PodStatus) -> Vec<PodCondition> {
    let phase = status.phase.as_deref().unwrap_or_default();
    let ready = containers_ready(view, status, phase);
    let all = [
        has_network(view, phase),
        initialized(view, phase),
        pod_ready(view, &ready, phase),
        ready,
        Verdict::yes("PodScheduled"),
    ];
    all.into_iter().map(|verdict| stamp(view, verdict)).collect()
}

fn has_network(view: &PodView<'_>, phase: &str) -> Verdict {
    let host_network = view.pod.spec.as_ref().is_some_and(|s| s.host_network == Some(true));
    let up = view.runtime.sandbox().is_some_and(|s| s.ready && (host_network || !s.ips.is_empty()));
    let kind = "PodReadyToStartContainers";
    let over = matches!(phase, "Succeeded" | "Failed");
    Verdict { kind, holds: up && !over, reason: None, message: None }
}

fn initialized(view: &PodView<'_>, phase: &str) -> Verdict {
    let kind = "Initialized";
    if phase == "Succeeded" {
        return Verdict { reason: Some("PodCompleted"), ..Verdict::yes(kind) };
    }
    let declared = containers::all(view.pod);
    let init = declared.iter().filter(|c| matches!(c.role, Role::Init | Role::Sidecar));
    if regular_created(view) || was_true(view, kind) && view.runtime.sandbox().is_none_or(|s| !s.ready) {
        return Verdict::yes(kind);
    }
    let open: Vec<&str> =
        init.filter(|c| !init_done(view, c.role, &c.container)).map(containers::Declared::name).collect();
    if open.is_empty() {
        return Verdict::yes(kind);
    }
    let message = format!("containers with incomplete status: [{}]", open.join(" "));
    Verdict::no(kind, "ContainersNotInitialized", Some(message))
}

fn containers_ready(view: &PodView<'_>, status: &PodStatus, phase: &str) -> Verdict {
    let kind = "ContainersReady";
    if let Some(verdict) = over(kind, phase) {
        return verdict;
    }
    let (mut unknown, mut unready) = (Vec::new(), Vec::new());
    for container in containers::all(view.pod) {
        let list = match container.role {
            Role::App => &status.container_statuses,
            Role::Sidecar => &status.init_container_statuses,
            _ => continue,
        };
        let own: Option<&ContainerStatus> = list.iter().flatten().find(|s| s.name == container.name());
        match own {
            None => unknown.push(container.name().to_owned()),
            Some(s) if !s.ready => unready.push(container.name().to_owned()),
            Some(_) => {}
        }
    }
    let mut parts = Vec::new();
    if !unknown.is_empty() {
        parts.push(format!("containers with unknown status: [{}]", unknown.join(" ")));
    }
    if !unready.is_empty() {
        parts.push(format!("containers with unready status: [{}]", unready.join(" ")));
    }
    if parts.is_empty() {
        Verdict::yes(kind)
    } else {
        Verdict::no(kind, "ContainersNotReady", Some(parts.join(", ")))
    }
}

fn over(kind: &'static str, phase: &str) -> Option<Verdict> {
    match phase {
        "Succeeded" => Some(Verdict::no(kind, "PodCompleted", None)),
        "Failed" => Some(Verdict::no(kind, "PodFailed", None)),
        _ => None,
    }
}

fn pod_ready(view: &PodView<'_>, containers: &Verdict, phase: &str) -> Verdict {
    let kind = "Ready";
    if let Some(verdict) = over(kind, phase) {
        return verdict;
    }
    if !containers.holds {
        return Verdict {
            kind,
            holds: false,
            reason: containers.reason,
            message: containers.message.clone(),
        };
    }
    let gates = view.pod.spec.as_ref().and_then(|s| s.readiness_gates.as_ref());
    let closed: Vec<String> =
        gates.into_iter().flatten().filter_map(|gate| closed_gate(view.pod, &gate.condition_type)).collect();
    if closed.is_empty() {
        Verdict::yes(kind)
    } else {
        Verdict::no(kind, "ReadinessGatesNotReady", Some(closed.join(", ")))
    }
}

fn closed_gate(pod: &Pod, gate: &str) -> Option<String> {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_ref());
    match conditions.into_iter().flatten().find(|c| c.type_ == gate) {
        None => Some(format!("corresponding condition of pod readiness gate \"{gate}\" does not exist.")),
        Some(c) if c.status != "True" => {
            Some(format!("the status of pod readiness gate \"{gate}\" is not \"True\", but {}", c.status))
        }
        Some(_) => None,
    }
}

fn last<'a>(view: &PodView<'a>, kind: &str) -> Option<&'a PodCondition> {
    let own = view.memory.status.as_ref();
    let stored = view.pod.status.as_ref();
    [own, stored].into_iter().flatten().find_map(|s| s.conditions.iter().flatten().find(|c| c.type_ == kind))
}

fn was_true(view: &PodView<'_>, kind: &str) -> bool {
    last(view, kind).is_some_and(|c| c.status == "True")
}

fn stamp(view: &PodView<'_>, verdict: Verdict) -> PodCondition {
    let status = if verdict.holds { "True" } else { "False" };
    let since: Option<Time> =
        last(view, verdict.kind).filter(|c| c.status == status).and_then(|c| c.last_transition_time.clone());
    PodCondition {
        type_: verdict.kind.to_owned(),
        status: status.to_owned(),
        reason: verdict.reason.map(str::to_owned),
        message: verdict.message,
        last_probe_time: None,
        last_transition_time: since.or_else(|| Some(time(view.now))),
        observed_generation: view.pod.metadata.generation,
    }
}
