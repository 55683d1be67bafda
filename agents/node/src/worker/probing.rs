//! Starts and ends the probe tasks of a pod as its containers come and go.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Container;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::lifecycle;
use super::view::PodView;
use crate::agent::Agent;
use crate::probes::{ProbeKind, ProbeReport, ProbeTask};
use crate::runtime_state::ContainerRecord;
use crate::spec::containers::{self, Role};

/// The probes of one container.
struct Probed {
    started: watch::Sender<bool>,
    tasks: BTreeMap<ProbeKind, AbortHandle>,
}

/// The probe tasks of one pod, by container id; they end with this value.
pub(super) struct Probing {
    agent: Arc<Agent>,
    reports: mpsc::Sender<ProbeReport>,
    probed: BTreeMap<String, Probed>,
    tasks: JoinSet<()>,
}

impl Probing {
    pub(super) fn new(agent: Arc<Agent>, reports: mpsc::Sender<ProbeReport>) -> Self {
        Self { agent, reports, probed: BTreeMap::new(), tasks: JoinSet::new() }
    }

    /// Makes the tasks fit the view.
    pub(super) fn follow(&mut self, view: &PodView<'_>) {
        while self.tasks.try_join_next().is_some() {}
        let ending = lifecycle::ending(view).is_some();
        let mut alive = Vec::new();
        for declared in containers::all(view.pod) {
            if !matches!(declared.role, Role::App | Role::Sidecar) {
                continue;
            }
            let Some(record) = view.runtime.current(declared.name()).filter(|r| r.running()) else {
                continue;
            };
            alive.push(record.id.clone());
            self.follow_one(view, &declared.container, record, ending);
        }
        self.probed.retain(|id, probed| {
            let keep = alive.contains(id);
            if !keep {
                probed.tasks.values().for_each(AbortHandle::abort);
            }
            keep
        });
    }

    fn follow_one(
        &mut self,
        view: &PodView<'_>,
        container: &Container,
        record: &ContainerRecord,
        ending: bool,
    ) {
        let started = lifecycle::started(view, container, record);
        if let Some(probed) = self.probed.get(&record.id) {
            probed.started.send_if_modified(|old| std::mem::replace(old, started) != started);
            if ending {
                // A pod that ends is not restarted by its probes; readiness still takes it out of Services.
                for (kind, task) in &probed.tasks {
                    if *kind != ProbeKind::Readiness {
                        task.abort();
                    }
                }
            }
            return;
        }
        if ending {
            return;
        }
        let sender = watch::Sender::new(started);
        let mut tasks = BTreeMap::new();
        let probes = [
            (ProbeKind::Startup, &container.startup_probe),
            (ProbeKind::Readiness, &container.readiness_probe),
            (ProbeKind::Liveness, &container.liveness_probe),
        ];
        for (kind, probe) in probes {
            let Some(probe) = probe else { continue };
            // Started before a restart of the agent: the startup probe has done its work.
            if kind == ProbeKind::Startup && started {
                continue;
            }
            let task = ProbeTask {
                agent: Arc::clone(&self.agent),
                pod: Arc::new(view.pod.clone()),
                name: container.name.clone(),
                container_id: record.id.clone(),
                pod_ip: pod_ip(view),
                kind,
                probe: probe.clone(),
                started_at: record.started_at,
                started: sender.subscribe(),
                reports: self.reports.clone(),
            };
            tasks.insert(kind, self.tasks.spawn(task.run()));
        }
        self.probed.insert(record.id.clone(), Probed { started: sender, tasks });
    }
}

fn pod_ip(view: &PodView<'_>) -> String {
    let own = view.runtime.sandbox().and_then(|s| s.ips.first());
    own.or_else(|| view.memory.host_ips.first()).cloned().unwrap_or_default()
}
