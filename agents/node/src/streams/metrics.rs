//! The agent's own metrics, under upstream's names; counted when they are asked for.

use prometheus::{IntGauge, IntGaugeVec, Opts, Registry};

use crate::observer::Observer;
use crate::runtime_state::Life;

/// What runs on the node.
pub(super) struct RunningMetrics {
    pods: IntGauge,
    containers: IntGaugeVec,
}

impl RunningMetrics {
    /// Registers the metrics; fails when the registry has them already.
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let pods = IntGauge::new("kubelet_running_pods", "Number of pods that have a running pod sandbox")?;
        let containers = IntGaugeVec::new(
            Opts::new("kubelet_running_containers", "Number of containers by state"),
            &["container_state"],
        )?;
        registry.register(Box::new(pods.clone()))?;
        registry.register(Box::new(containers.clone()))?;
        Ok(Self { pods, containers })
    }

    /// Counts anew.
    pub(super) fn update(&self, observer: &Observer) {
        let all = observer.uids();
        let ready = all.values().filter(|p| p.sandbox().is_some_and(|s| s.ready)).count();
        self.pods.set(i64::try_from(ready).unwrap_or(i64::MAX));
        for (life, state) in [
            (Life::Created, "created"),
            (Life::Running, "running"),
            (Life::Exited, "exited"),
            (Life::Unknown, "unknown"),
        ] {
            let count = all.values().flat_map(|p| &p.containers).filter(|c| c.life == life).count();
            self.containers.with_label_values(&[state]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}
