//! What a fresh worker concludes from containers that already run: the agent was restarted, the pod was not.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use super::view::{PodMemory, ProbeResults};
use crate::probes::ProbeKind;
use crate::runtime_state::PodRuntime;
use crate::status::container_id;

/// Hooks of running containers are over, and probes that had passed are believed until they say otherwise.
pub(super) fn remember(memory: &mut PodMemory, pod: &Pod, runtime: &PodRuntime) {
    let statuses: Vec<&ContainerStatus> = pod
        .status
        .iter()
        .flat_map(|s| s.container_statuses.iter().flatten().chain(s.init_container_statuses.iter().flatten()))
        .collect();
    for record in runtime.containers.iter().filter(|c| c.running()) {
        let own = memory.containers.entry(record.name.clone()).or_default();
        own.hook_done = Some(record.id.clone());
        let shown = statuses.iter().find(|s| s.container_id.as_deref() == Some(&container_id(&record.id)));
        if let Some(shown) = shown {
            let results = ProbeResults {
                startup: (shown.started == Some(true)).then_some(true),
                readiness: shown.ready.then_some(true),
                liveness: None,
            };
            own.probes = Some((record.id.clone(), results));
        }
    }
    if !runtime.sandboxes.is_empty() {
        // The volumes were made once; they are brought up to date before anything starts.
        memory.volumes = super::view::VolumesState::Pending;
    }
}

impl PodMemory {
    /// Takes in the verdict of a probe.
    pub(super) fn take_probe(&mut self, name: &str, id: &str, kind: ProbeKind, ok: bool) {
        let own = self.containers.entry(name.to_owned()).or_default();
        let mut results = own.probes_of(id);
        match kind {
            ProbeKind::Startup => results.startup = Some(ok),
            ProbeKind::Readiness => results.readiness = Some(ok),
            ProbeKind::Liveness => results.liveness = Some(ok),
        }
        own.probes = Some((id.to_owned(), results));
    }
}
