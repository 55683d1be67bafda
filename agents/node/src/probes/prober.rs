//! The task of one probe: delay, period, thresholds.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Probe};
use k8s_openapi::jiff::Timestamp;
use mainstay_agents_kit::time::{elapsed, plus};
use tokio::sync::{mpsc, watch};

use super::check::{Outcome, Target, check};
use super::tally::{Tally, Thresholds};
use crate::agent::Agent;
use crate::spec::containers;

/// How long a container counts as just started, and the pauses between looks at it in that time.
const EARLY_AGE: Duration = Duration::from_secs(1);
const EARLY: [Duration; 5] = [
    Duration::from_millis(20),
    Duration::from_millis(40),
    Duration::from_millis(80),
    Duration::from_millis(160),
    Duration::from_millis(320),
];

/// Which of a container's probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ProbeKind {
    Startup,
    Readiness,
    Liveness,
}

impl ProbeKind {
    /// As events spell it.
    fn title(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Readiness => "Readiness",
            Self::Liveness => "Liveness",
        }
    }
}

/// A verdict for the worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProbeReport {
    pub container_id: String,
    pub name: String,
    pub kind: ProbeKind,
    pub ok: bool,
}

/// One probe of one running container.
pub(crate) struct ProbeTask {
    pub agent: Arc<Agent>,
    pub pod: Arc<Pod>,
    pub name: String,
    pub container_id: String,
    pub pod_ip: String,
    pub kind: ProbeKind,
    pub probe: Probe,
    pub started_at: Timestamp,
    /// True once the container counts as started: readiness and liveness wait for it.
    pub started: watch::Receiver<bool>,
    pub reports: mpsc::Sender<ProbeReport>,
}

impl ProbeTask {
    /// Probes until the worker aborts the task, or (startup) until it has passed.
    pub(crate) async fn run(mut self) {
        if self.kind != ProbeKind::Startup && self.started.wait_for(|started| *started).await.is_err() {
            return;
        }
        self.initial_delay().await;
        let period = Duration::from_secs(self.number(self.probe.period_seconds, 10));
        let thresholds = Thresholds {
            success: u32::try_from(self.number(self.probe.success_threshold, 1)).unwrap_or(1),
            failure: u32::try_from(self.number(self.probe.failure_threshold, 3)).unwrap_or(3),
        };
        let mut early = self.early().await;
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut tally, mut told) = (Tally::default(), None);
        loop {
            ticks.tick().await;
            let outcome = match early.take() {
                Some(outcome) => outcome,
                None => self.once().await,
            };
            let ok = outcome == Outcome::Success;
            self.tell_failure(&outcome);
            let Some(verdict) = tally.observe(ok, thresholds) else { continue };
            if told != Some(verdict) {
                told = Some(verdict);
                let report = ProbeReport {
                    container_id: self.container_id.clone(),
                    name: self.name.clone(),
                    kind: self.kind,
                    ok: verdict,
                };
                if self.reports.send(report).await.is_err() {
                    return;
                }
            }
            // A container that fails these is killed; one that has started needs no more startup probes.
            let over = match self.kind {
                ProbeKind::Startup => true,
                ProbeKind::Liveness => !verdict,
                ProbeKind::Readiness => false,
            };
            if over {
                return;
            }
        }
    }

    /// A container that has only just started may not listen yet. Upstream's kubelet learns of the start up to a second
    /// late; here it is known at once, so failures in that second are looked at again soon, and not counted.
    async fn early(&self) -> Option<Outcome> {
        for delay in EARLY {
            if elapsed(self.started_at, self.agent.now()) > EARLY_AGE {
                return None;
            }
            let outcome = self.once().await;
            if outcome == Outcome::Success {
                return Some(outcome);
            }
            tokio::time::sleep(delay).await;
        }
        None
    }

    /// Counted from the container's start, so that a restarted agent does not delay again.
    async fn initial_delay(&self) {
        let delay = Duration::from_secs(
            self.probe.initial_delay_seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(0),
        );
        let left = elapsed(self.agent.now(), plus(self.started_at, delay));
        if !left.is_zero() {
            tokio::time::sleep(left).await;
        }
    }

    #[allow(clippy::unused_self, reason = "reads like a field with a default")]
    fn number(&self, stated: Option<i32>, default: u64) -> u64 {
        stated.and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0).unwrap_or(default)
    }

    async fn once(&self) -> Outcome {
        let Some(declared) = containers::find(&self.pod, &self.name) else {
            return Outcome::Errored(format!("container {:?} is not in the pod", self.name));
        };
        let agent_name = format!("kube-probe/{}", short_version(&self.agent.config.kubelet_version));
        let target = Target {
            container: &declared.container,
            container_id: &self.container_id,
            pod_ip: &self.pod_ip,
            agent_name: &agent_name,
        };
        check(self.agent.runtime.as_ref(), &self.probe, target).await
    }

    fn tell_failure(&self, outcome: &Outcome) {
        let title = self.kind.title();
        let message = match outcome {
            Outcome::Success => return,
            Outcome::Failure(output) => format!("{title} probe failed: {output}"),
            Outcome::Errored(error) => format!("{title} probe errored: {error}"),
        };
        self.agent.events.container_warning(&self.pod, &self.name, "Unhealthy", message);
    }
}

/// `v1.37.0` → `1.37`.
fn short_version(version: &str) -> String {
    let mut parts = version.trim_start_matches('v').split('.');
    format!("{}.{}", parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}
