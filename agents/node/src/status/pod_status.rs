//! The whole status of one pod.

use k8s_openapi::api::core::v1::{HostIP, PodIP, PodStatus};
use mainstay_agents_kit::time::time;

use super::{conditions, container, phase};
use crate::spec::containers::{self, Role};
use crate::spec::resources::qos;
use crate::worker::{Ending, PodView, ending, start_time, terminal_phase};

/// The status that the API should show.
pub(crate) fn pod_status(view: &PodView<'_>) -> PodStatus {
    if let Some(stored) = settled(view) {
        return stored.clone();
    }
    let ending = ending(view);
    let of = |roles: &[Role]| {
        let declared = containers::all(view.pod);
        let list: Vec<_> = declared
            .iter()
            .filter(|c| roles.contains(&c.role))
            .map(|c| container::container_status(view, c, ending.is_some()))
            .collect();
        (!list.is_empty()).then_some(list)
    };
    let mut status = PodStatus {
        observed_generation: view.pod.metadata.generation,
        qos_class: Some(qos(view.pod).as_str().to_owned()),
        start_time: start_time(view).map(time),
        nominated_node_name: None,
        ..PodStatus::default()
    };
    if let Some(failure) = &view.memory.rejected {
        status.phase = Some("Failed".to_owned());
        status.reason = Some(failure.reason.clone());
        status.message = Some(failure.message.clone());
        status.conditions = Some(conditions::conditions(view, &status));
        return status;
    }
    status.init_container_statuses = of(&[Role::Init, Role::Sidecar]);
    status.container_statuses = of(&[Role::App]);
    status.ephemeral_container_statuses = of(&[Role::Ephemeral]);
    addresses(view, &mut status);
    let phase = match &ending {
        Some(Ending::Failed(failure)) => {
            status.reason = Some(failure.reason.clone());
            status.message = Some(failure.message.clone());
            "Failed"
        }
        _ => {
            terminal_phase(view).unwrap_or_else(|| phase::phase(view, &status, ended(view, ending.as_ref())))
        }
    };
    status.phase = Some(phase.to_owned());
    if status.reason.is_none() {
        keep_reason(view, &mut status);
    }
    status.conditions = Some(conditions::conditions(view, &status));
    status
}

/// The API's status of a pod that has ended and of which nothing runs: it stays, even when the runtime and the pod's
/// files, from which it was made, are gone.
fn settled<'a>(view: &PodView<'a>) -> Option<&'a PodStatus> {
    let stored = view.pod.status.as_ref()?;
    let over = matches!(stored.phase.as_deref(), Some("Succeeded" | "Failed"));
    let all =
        stored.container_statuses.iter().flatten().chain(stored.init_container_statuses.iter().flatten());
    let runs = all.into_iter().any(|s| s.state.as_ref().is_some_and(|s| s.running.is_some()));
    let ours = stored.container_statuses.is_some() || stored.reason.is_some();
    (over && ours && !runs && !view.runtime.any_running()).then_some(stored)
}

/// The pod ends and none of its processes is left.
fn ended(view: &PodView<'_>, ending: Option<&Ending>) -> bool {
    use crate::worker::Op;
    ending == Some(&Ending::Deleted)
        && !view.runtime.any_running()
        && !view.memory.in_flight.contains(&Op::Start)
        && !view.memory.in_flight.contains(&Op::Sandbox)
}

/// A terminal pod keeps why it ended.
fn keep_reason(view: &PodView<'_>, status: &mut PodStatus) {
    let own = view.memory.status.as_ref();
    let stored = view.pod.status.as_ref();
    let last = [own, stored].into_iter().flatten().find(|s| s.reason.is_some());
    if let Some(last) = last.filter(|l| l.phase == status.phase) {
        status.reason.clone_from(&last.reason);
        status.message.clone_from(&last.message);
    }
}

fn addresses(view: &PodView<'_>, status: &mut PodStatus) {
    let host = &view.memory.host_ips;
    status.host_ip = host.first().cloned();
    status.host_ips = (!host.is_empty()).then(|| host.iter().map(|ip| HostIP { ip: ip.clone() }).collect());
    let host_network = view.pod.spec.as_ref().is_some_and(|s| s.host_network == Some(true));
    let ips: Vec<String> = match view.runtime.sandbox() {
        Some(sandbox) if host_network && sandbox.ready => host.clone(),
        Some(sandbox) if !sandbox.ips.is_empty() => sandbox.ips.clone(),
        // The runtime has given the address back; the API keeps showing the last one.
        _ => last_ips(view),
    };
    status.pod_ip = ips.first().cloned();
    status.pod_ips = (!ips.is_empty()).then(|| ips.into_iter().map(|ip| PodIP { ip }).collect());
}

fn last_ips(view: &PodView<'_>) -> Vec<String> {
    let last = view.memory.status.as_ref().or(view.pod.status.as_ref());
    last.and_then(|s| s.pod_ips.as_ref()).into_iter().flatten().map(|ip| ip.ip.clone()).collect()
}
