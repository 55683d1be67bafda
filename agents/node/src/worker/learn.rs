//! What a worker does with a step, and what it learns when the step has ended.

use std::time::Duration;

use mainstay_agents_kit::time::plus;
use tracing::warn;

use super::backoff;
use super::outcome::{Outcome, StartFailure, StartStage};
use super::run::{Stored, Worker, version};
use super::start::StartRequest;
use super::step::PodStep;
use super::view::{Op, Retry, VolumesState};

/// After a failed pull the next look is this soon: it then shows the back-off.
const PULL_LOOK: Duration = Duration::from_secs(3);
/// A container whose configuration is wrong is tried again this often, and when something it names changes.
const PREPARE_RETRY: Duration = Duration::from_secs(10);
const STATUS_RETRY: Duration = Duration::from_secs(2);
/// Operations on the runtime that failed are tried again after this.
const UNDONE_RETRY: Duration = Duration::from_secs(2);
const VOLUME_RETRY_FIRST: Duration = Duration::from_millis(500);
const VOLUME_RETRY_MAX: Duration = Duration::from_secs(122);
const SANDBOX_RETRY_FIRST: Duration = Duration::from_secs(1);
const SANDBOX_RETRY_MAX: Duration = Duration::from_secs(60);

fn grown(first: Duration, max: Duration, attempts: u32) -> Duration {
    first.saturating_mul(1_u32.checked_shl(attempts.min(20)).unwrap_or(u32::MAX)).min(max)
}

impl Worker {
    /// Starts the operation of a step.
    pub(super) fn dispatch(&mut self, step: PodStep) {
        let work = self.work();
        match step {
            PodStep::MountVolumes => {
                self.volumes_made_from = self.leases.peek().fingerprint();
                self.memory.volumes_due = None;
                self.mounts_made += 1;
                let stamp = format!("{}_{}", self.agent.now().as_nanosecond(), self.mounts_made);
                self.spawn(Op::Volumes, work.mount_volumes(stamp));
            }
            PodStep::UnmountVolumes => self.spawn(Op::Volumes, work.unmount_volumes()),
            PodStep::CreateSandbox { attempt, stop } => {
                self.spawn(Op::Sandbox, work.create_sandbox(attempt, stop));
            }
            PodStep::StartContainer { name, restart_count } => self.start(name, restart_count),
            PodStep::KillContainer { id, name, grace_seconds, why } => {
                self.memory.kill_grace.insert(id.clone(), grace_seconds);
                self.spawn(Op::Kill(id.clone()), work.kill(id, name, grace_seconds, why));
            }
            PodStep::RemoveContainer { id, .. } => {
                self.spawn(Op::Remove(id.clone()), work.remove_container(id));
            }
            PodStep::StopSandbox { id } => self.spawn(Op::Kill(id.clone()), work.stop_sandbox(id)),
            PodStep::RemoveSandbox { id } => self.spawn(Op::Remove(id.clone()), work.remove_sandbox(id)),
            PodStep::DeletePod => self.spawn(Op::Delete, work.delete_pod()),
            // Handled where the plan is read.
            PodStep::Forget | PodStep::Wake { .. } | PodStep::BackOff { .. } => {}
        }
    }

    fn start(&mut self, name: String, restart_count: u32) {
        let now = self.agent.now();
        let Some(sandbox) = self.runtime.sandbox().cloned() else { return };
        let last = self.runtime.latest(&name).filter(|r| r.exited()).map(|r| r.finished_at);
        let own = self.memory.containers.entry(name.clone()).or_default();
        if let Some(finished_at) = last {
            own.crash = Some(backoff::next(own.crash.as_ref(), finished_at, now));
        }
        let host = self.pod.spec.as_ref().is_some_and(|s| s.host_network == Some(true));
        let request = StartRequest {
            name,
            restart_count,
            sandbox_id: sandbox.id,
            sandbox_attempt: sandbox.attempt,
            pod_ips: if host { self.agent.facts.host_ips.clone() } else { sandbox.ips },
            last_pull: own.pull.clone(),
        };
        let work = self.work();
        self.memory.settling = false;
        self.spawn(Op::Start, Box::pin(work.start_container(request)));
    }

    /// Takes in the end of an operation.
    pub(super) fn learn(&mut self, op: &Op, outcome: Outcome) {
        let now = self.agent.now();
        match outcome {
            Outcome::VolumesMounted => {
                self.memory.volumes = VolumesState::Mounted;
                self.renew_tokens_in_time();
            }
            Outcome::VolumesRemoved => self.memory.volumes = VolumesState::Removed,
            Outcome::VolumesFailed(failure) if self.memory.volumes == VolumesState::Mounted => {
                warn!(pod = self.uid, message = failure.message, "bringing volumes up to date failed");
                self.memory.volumes_due = Some(plus(now, VOLUME_RETRY_MAX));
            }
            Outcome::VolumesFailed(failure) => {
                let attempts = match &self.memory.volumes {
                    VolumesState::Failed(retry) => retry.attempts + 1,
                    _ => 0,
                };
                let at = plus(now, grown(VOLUME_RETRY_FIRST, VOLUME_RETRY_MAX, attempts));
                self.memory.volumes = VolumesState::Failed(Retry { failure, at, attempts });
            }
            Outcome::SandboxMade => self.memory.sandbox_failure = None,
            Outcome::SandboxFailed(failure) => {
                let attempts = self.memory.sandbox_failure.as_ref().map_or(0, |r| r.attempts + 1);
                let at = plus(now, grown(SANDBOX_RETRY_FIRST, SANDBOX_RETRY_MAX, attempts));
                self.memory.sandbox_failure = Some(Retry { failure, at, attempts });
            }
            Outcome::Started { name, id } => {
                let own = self.memory.containers.entry(name).or_default();
                (own.failure, own.pull, own.hook_done) = (None, None, Some(id));
            }
            Outcome::StartFailed(failure) => self.learn_start_failure(failure),
            Outcome::Done => {}
            Outcome::Undone { what, message } => {
                warn!(pod = self.uid, message, "{what} failed");
                self.hold(op);
            }
            Outcome::Deleted => self.memory.deleted = true,
            Outcome::DeleteFailed(message) => {
                warn!(pod = self.uid, message, "deleting the pod's object failed");
                self.hold(op);
            }
            Outcome::StatusWritten { status, resource_version } => {
                let version = version(Some(&resource_version));
                if version >= self.stored.version {
                    self.stored = Stored { status: Some(*status), version };
                }
            }
            Outcome::StatusGone => self.memory.gone = true,
            Outcome::StatusFailed(message) => {
                warn!(pod = self.uid, message, "writing the pod's status failed");
                self.status_failed_at = Some(plus(now, STATUS_RETRY));
            }
        }
    }

    fn learn_start_failure(&mut self, failed: StartFailure) {
        let now = self.agent.now();
        let own = self.memory.containers.entry(failed.name).or_default();
        let at = match failed.stage {
            StartStage::Pull => {
                let old = own.pull.as_ref();
                let delay = backoff::next(old.map(|(d, ..)| d), old.map_or(now, |(_, at, _)| *at), now);
                own.pull = Some((delay, now, failed.failure.message.clone()));
                plus(now, PULL_LOOK)
            }
            StartStage::PullBackOff => match &own.pull {
                Some((delay, at, _)) => plus(*at, delay.delay),
                None => now,
            },
            StartStage::Prepare => plus(now, PREPARE_RETRY),
            StartStage::Run => plus(now, own.crash.map_or(backoff::FIRST, |c| c.delay)),
        };
        own.failure = Some(Retry { failure: failed.failure, at, attempts: 0 });
    }

    /// Keeps a failed operation's key taken for a moment, so that the same plan does not repeat it at once.
    fn hold(&mut self, op: &Op) {
        self.spawn(op.clone(), async {
            tokio::time::sleep(UNDONE_RETRY).await;
            Outcome::Done
        });
    }

    fn renew_tokens_in_time(&mut self) {
        // The mount that just ended held this lock; nobody else does.
        if let Ok(tokens) = self.tokens.try_lock()
            && let Some(at) = tokens.renew_at()
        {
            let due = self.memory.volumes_due.map_or(at, |due| due.min(at));
            self.memory.volumes_due = Some(due);
        }
    }

    /// Something a failed container may have waited for has changed: try it now.
    pub(super) fn retry_prepared(&mut self) {
        let now = self.agent.now();
        for own in self.memory.containers.values_mut() {
            if let Some(retry) = own.failure.as_mut()
                && retry.failure.reason == "CreateContainerConfigError"
            {
                retry.at = now;
            }
        }
        if let VolumesState::Failed(retry) = &mut self.memory.volumes {
            retry.at = now;
        }
    }

    /// One event each time a container begins to wait.
    pub(super) fn tell_back_off(&mut self, name: &str, until: k8s_openapi::jiff::Timestamp) {
        if self.backoff_told.insert(name.to_owned(), until) != Some(until) {
            let label = crate::spec::security::pod_label(&self.pod);
            let text = format!("Back-off restarting failed container {name} in pod {label}");
            self.agent.events.container_warning(&self.pod, name, "BackOff", text);
        }
    }
}
