//! The loop of one pod: wake, look, plan, act, write the status. Never blocks on an operation.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use k8s_openapi::jiff::Timestamp;
use mainstay_agents_kit::time::{elapsed, plus};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::act::Work;
use super::leases::PodLeases;
use super::lifecycle::{self, Ending};
use super::outcome::Outcome;
use super::plan::plan;
use super::probing::Probing;
use super::step::PodStep;
use super::view::{Failure, Op, PodMemory, PodView};
use crate::agent::Agent;
use crate::probes::ProbeReport;
use crate::runtime_state::PodRuntime;
use crate::status::{pod_status, status_patch};
use crate::volumes::Tokens;

/// Probe verdicts waiting for the worker.
const REPORTS_MAX: usize = 64;
/// How long "its containers are being made" may wait to be written.
const PREPARING_HOLD: Duration = Duration::from_millis(250);
/// The longest sleep: a plan that names no time is looked at again after this.
const SLEEP_MAX: Duration = Duration::from_secs(3600);

/// What the API wants of a pod.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub pod: Arc<Pod>,
    /// The object is gone.
    pub gone: bool,
}

/// The worker of one pod.
pub(crate) struct Worker {
    pub(super) agent: Arc<Agent>,
    pub(super) uid: String,
    pub(super) pod: Arc<Pod>,
    pub(super) runtime: Arc<PodRuntime>,
    pub(super) memory: PodMemory,
    pub(super) leases: Arc<PodLeases>,
    pub(super) tokens: Arc<Mutex<Tokens>>,
    pub(super) stored: Stored,
    /// When a status that was held back is written.
    status_retry_at: Option<Timestamp>,
    /// When a failed write is tried again.
    pub(super) status_failed_at: Option<Timestamp>,
    pub(super) volumes_made_from: Vec<(String, String)>,
    pub(super) backoff_told: BTreeMap<String, Timestamp>,
    pub(super) mounts_made: u64,
    running: JoinSet<Outcome>,
    handles: BTreeMap<Op, AbortHandle>,
    probing: Probing,
    wanted: watch::Receiver<Wanted>,
    records: watch::Receiver<Arc<PodRuntime>>,
    sources: watch::Receiver<u64>,
    reports: mpsc::Receiver<ProbeReport>,
}

/// What the API is known to show.
#[derive(Debug, Clone, Default)]
pub(super) struct Stored {
    pub status: Option<PodStatus>,
    pub version: u64,
}

impl Worker {
    /// A worker that takes over whatever the runtime already has of the pod.
    pub(crate) fn new(agent: Arc<Agent>, wanted: watch::Receiver<Wanted>, rejected: Option<Failure>) -> Self {
        let first = wanted.borrow().clone();
        let uid = first.pod.metadata.uid.clone().unwrap_or_default();
        let records = agent.observer.watch(&uid);
        let runtime = records.borrow().clone();
        let (sender, reports) = mpsc::channel(REPORTS_MAX);
        let mut memory = PodMemory {
            gone: first.gone,
            rejected,
            first_seen: Some(agent.now()),
            host_ips: agent.facts.host_ips.clone(),
            ..PodMemory::default()
        };
        super::take_over::remember(&mut memory, &first.pod, &runtime);
        let mut worker = Self {
            leases: Arc::new(PodLeases::of(&agent.sources, &first.pod)),
            sources: agent.sources.changes(),
            probing: Probing::new(Arc::clone(&agent), sender),
            agent,
            uid,
            pod: Arc::clone(&first.pod),
            runtime,
            memory,
            tokens: Arc::default(),
            stored: Stored::default(),
            status_retry_at: None,
            status_failed_at: None,
            volumes_made_from: Vec::new(),
            backoff_told: BTreeMap::new(),
            mounts_made: 0,
            running: JoinSet::new(),
            handles: BTreeMap::new(),
            wanted,
            records,
            reports,
        };
        worker.take_stored(&first.pod);
        worker
    }

    /// Runs until nothing of the pod is left, or the agent stops (then the pod runs on).
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        loop {
            let Some(sleep) = self.sync() else { return };
            // Every branch is cancel safe: channels keep what is not taken, joined tasks stay in their set.
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(ended) = self.running.join_next_with_id() => self.ended(ended),
                Ok(()) = self.wanted.changed() => self.take_wanted(),
                Ok(()) = self.records.changed() => self.runtime = self.records.borrow_and_update().clone(),
                Some(report) = self.reports.recv() => self.take_report(&report),
                Ok(()) = self.sources.changed() => self.take_sources(),
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    pub(super) fn view(&self) -> PodView<'_> {
        PodView { pod: &self.pod, runtime: &self.runtime, memory: &self.memory, now: self.agent.now() }
    }

    pub(super) fn work(&self) -> Work {
        Work {
            agent: Arc::clone(&self.agent),
            pod: Arc::clone(&self.pod),
            uid: self.uid.clone(),
            leases: Arc::clone(&self.leases),
            tokens: Arc::clone(&self.tokens),
        }
    }

    /// One look: how long to sleep when nothing happens; `None` when the worker is done.
    fn sync(&mut self) -> Option<Duration> {
        self.take_ready_events();
        self.note_ending();
        self.write_status();
        let steps = plan(&self.view());
        let now = self.agent.now();
        let mut sleep = SLEEP_MAX;
        for at in [self.status_retry_at, self.status_failed_at].into_iter().flatten() {
            sleep = sleep.min(elapsed(now, at));
        }
        for step in steps {
            debug!(pod = self.uid, %step, "step");
            match step {
                PodStep::Forget => return None,
                PodStep::Wake { at } => sleep = sleep.min(elapsed(now, at)),
                PodStep::BackOff { name, until } => {
                    sleep = sleep.min(elapsed(now, until));
                    self.tell_back_off(&name, until);
                }
                step => self.dispatch(step),
            }
        }
        let view = PodView { pod: &self.pod, runtime: &self.runtime, memory: &self.memory, now };
        self.probing.follow(&view);
        Some(sleep)
    }

    /// Takes in what arrived while the last step was planned, so that one look sees it all.
    fn take_ready_events(&mut self) {
        while let Ok(report) = self.reports.try_recv() {
            self.take_report(&report);
        }
        if self.records.has_changed().unwrap_or(false) {
            self.runtime = self.records.borrow_and_update().clone();
        }
    }

    fn note_ending(&mut self) {
        let ending = lifecycle::ending(&self.view());
        let Some(ending) = ending else { return };
        let now = self.agent.now();
        self.memory.ending_since.get_or_insert(now);
        if let Ending::Failed(failure) = ending
            && self.memory.rejected.is_none()
            && failure.reason == "DeadlineExceeded"
            && self.memory.status.as_ref().is_none_or(|s| s.phase.as_deref() != Some("Failed"))
        {
            self.agent.events.normal(&self.pod, "DeadlineExceeded", failure.message);
        }
        // A pull or a start that is under way is of no use any more.
        if self.memory.in_flight.contains(&Op::Start) && !self.memory.settling {
            self.memory.settling = true;
            let work = self.work();
            self.spawn(Op::Start, async move {
                work.refresh().await;
                Outcome::Done
            });
        }
    }

    /// Runs `future` as the operation `op`, in place of one that runs under the same key.
    pub(super) fn spawn(&mut self, op: Op, future: impl Future<Output = Outcome> + Send + 'static) {
        let handle = self.running.spawn(future);
        self.memory.in_flight.insert(op.clone());
        if let Some(old) = self.handles.insert(op, handle) {
            old.abort();
        }
    }

    fn ended(&mut self, ended: Result<(tokio::task::Id, Outcome), JoinError>) {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let op = self.handles.iter().find(|(_, handle)| handle.id() == id).map(|(op, _)| op.clone());
        // A replaced operation says nothing any more.
        let Some(op) = op else { return };
        self.handles.remove(&op);
        self.memory.in_flight.remove(&op);
        if let Op::Kill(id) = &op {
            self.memory.kill_grace.remove(id);
        }
        match ended {
            Ok((_, outcome)) => self.learn(&op, outcome),
            Err(error) => {
                warn!(pod = self.uid, ?op, %error, "an operation broke off");
                self.learn(&op, Outcome::Undone { what: "an operation", message: error.to_string() });
            }
        }
    }

    fn take_wanted(&mut self) {
        let wanted = self.wanted.borrow_and_update().clone();
        if wanted.gone {
            self.memory.gone = true;
            return;
        }
        self.take_stored(&wanted.pod);
        if wanted.pod.metadata.generation != self.pod.metadata.generation
            || wanted.pod.metadata.labels != self.pod.metadata.labels
            || wanted.pod.metadata.annotations != self.pod.metadata.annotations
            || wanted.pod.spec != self.pod.spec
        {
            self.leases = Arc::new(PodLeases::of(&self.agent.sources, &wanted.pod));
            self.memory.volumes_due = Some(self.agent.now());
            self.retry_prepared();
        }
        self.pod = wanted.pod;
    }

    /// Keeps the newer of what a watch and what our own patch has shown.
    fn take_stored(&mut self, pod: &Pod) {
        let version = version(pod.metadata.resource_version.as_deref());
        if version > self.stored.version {
            self.stored = Stored { status: pod.status.clone(), version };
        }
    }

    /// A `ConfigMap` or Secret changed somewhere: is it ours?
    fn take_sources(&mut self) {
        self.sources.borrow_and_update();
        let now_from = self.leases.peek().fingerprint();
        if now_from != self.volumes_made_from {
            self.memory.volumes_due = Some(self.agent.now());
            self.retry_prepared();
        }
    }

    fn take_report(&mut self, report: &ProbeReport) {
        self.memory.take_probe(&report.name, &report.container_id, report.kind, report.ok);
    }

    /// Until when a status that says little is held back: most pods run before that, and one write tells all.
    fn hold_back(&mut self, status: &PodStatus, now: Timestamp) -> Option<Timestamp> {
        if !only_preparing(status) {
            return None;
        }
        let until = plus(self.memory.first_seen.unwrap_or(now), PREPARING_HOLD);
        (now < until).then_some(until)
    }

    /// Brings the API's status up to date, one patch at a time.
    fn write_status(&mut self) {
        let status = pod_status(&self.view());
        let over = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
        self.memory.status = Some(status.clone());
        if self.memory.gone || self.memory.deleted || self.memory.in_flight.contains(&Op::Status) {
            return;
        }
        let now = self.agent.now();
        if self.status_retry_at.is_some_and(|at| now < at) && only_preparing(&status) {
            return;
        }
        if self.status_failed_at.is_some_and(|at| now < at) {
            return;
        }
        (self.status_retry_at, self.status_failed_at) = (None, None);
        match status_patch(&self.uid, self.stored.status.as_ref(), &status) {
            Some(patch) => {
                if let Some(until) = self.hold_back(&status, now) {
                    self.status_retry_at = Some(until);
                    return;
                }
                let work = self.work();
                self.spawn(Op::Status, work.patch_status(patch, status));
            }
            None => self.memory.final_status_written = over,
        }
    }
}

/// A pod that still only waits for its containers to be made: nothing a reader needs at once.
fn only_preparing(status: &PodStatus) -> bool {
    let all =
        status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten());
    status.phase.as_deref() == Some("Pending")
        && all.into_iter().all(|own| {
            let waiting =
                own.state.as_ref().and_then(|s| s.waiting.as_ref()).and_then(|w| w.reason.as_deref());
            matches!(waiting, Some("ContainerCreating" | "PodInitializing"))
        })
}

/// Resource versions of one store are numbers in order.
pub(super) fn version(text: Option<&str>) -> u64 {
    text.and_then(|v| v.parse().ok()).unwrap_or(0)
}
