//! The loop of one candidate.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ObjectMeta, PostParams};
use mainstay_base::lifecycle::{Clock, Tasks};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::rule::{Move, Timings, aligned, candidate, released, renewed};
use crate::informer::{Filter, Reader, start};
use crate::step::answer;

const NAMESPACE: &str = "kube-system";
/// How long one call of a candidate may take.
const CALL_MAX: Duration = Duration::from_secs(2);
/// How long loops may take to end in order when the whole process does.
const STOP_GRACE: Duration = Duration::from_secs(8);
const CONFLICT: u16 = 409;

/// Starts the loops that only a leader runs; they must end with the tasks they are given.
pub type Started = Arc<dyn Fn(&Tasks) + Send + Sync>;

/// One thing that one process of several does.
pub struct Election {
    /// The Lease's name in kube-system, such as `kube-scheduler`.
    pub name: &'static str,
    /// Who we are: differs in each process.
    pub identity: String,
    /// With the rights to get, list, watch, create and update the Lease.
    pub client: kube::Client,
    /// How quick.
    pub timings: Timings,
    /// Elections with the same base renew at the same moments: one wake of all that a write passes serves them all.
    pub base: Instant,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
}

impl Election {
    /// Stands for election until `tasks` ends, and calls `started` with a group of tasks of its own each time it has won.
    /// That group is ended when the Lease is lost, before anybody else can take it.
    pub fn run(self, tasks: &Tasks, started: Started) {
        let api: Api<Lease> = Api::namespaced(self.client.clone(), NAMESPACE);
        let only = Filter::fields(format!("metadata.name={}", self.name));
        let seen = start(tasks, Arc::clone(&self.clock), api.clone(), only);
        let (group, stop) = (tasks.clone(), tasks.token());
        tasks.spawn(format!("election {}", self.name), async move {
            let elector = Elector { election: self, api, seen };
            while !stop.is_cancelled() {
                elector.serve_one_term(&group, &stop, &started).await;
            }
        });
    }
}

struct Elector {
    election: Election,
    api: Api<Lease>,
    seen: Reader<Lease>,
}

/// Why a term ended.
enum Ended {
    /// Somebody else has the Lease, or it could not be renewed in time.
    Lost,
    /// This process ends.
    Stopped,
}

impl Elector {
    async fn serve_one_term(&self, tasks: &Tasks, stop: &CancellationToken, started: &Started) {
        let name = self.election.name;
        let won = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            won = self.win() => won,
        };
        info!(name, identity = self.election.identity, "leads");
        let term = tasks.child(name);
        started(&term);
        let Term { lease, renewed_at } = won;
        let (ended, lease, renewed_at) = self.hold(lease, renewed_at, stop).await;
        // What is left of the Lease is the time that the loops have to end.
        let left = match ended {
            Ended::Lost => (renewed_at + self.election.timings.lease)
                .saturating_duration_since(self.election.clock.now()),
            Ended::Stopped => STOP_GRACE,
        };
        let mut grace = left;
        while let Err(running) = term.close_and_join(grace).await {
            warn!(name, ?running, "loops of a term that is over have not ended yet");
            grace = STOP_GRACE;
        }
        match ended {
            Ended::Lost => warn!(name, "lost the lease: its loops have ended"),
            Ended::Stopped => self.release(&lease).await,
        }
    }

    /// Waits until the Lease is ours.
    async fn win(&self) -> Term {
        let mut changed = self.seen.changed();
        self.seen.synced().await;
        let mut last: (Option<String>, Instant) = (None, self.election.clock.now());
        loop {
            changed.borrow_and_update();
            let now = self.election.clock.now();
            let lease = self.seen.get_named(NAMESPACE, self.election.name);
            let version = lease.as_ref().and_then(|lease| lease.metadata.resource_version.clone());
            if version != last.0 {
                last = (version, now);
            }
            let spec = lease.as_ref().map(|lease| lease.spec.clone().unwrap_or_default());
            let Election { identity, timings, .. } = &self.election;
            let pause = match candidate(spec.as_ref(), now - last.1, identity, timings, self.wall()) {
                Move::Wait(left) => left,
                Move::Take(wanted) => match self.take(lease.as_deref(), wanted).await {
                    Ok(lease) => return Term { lease, renewed_at: now },
                    Err(why) => {
                        debug!(name = self.election.name, why, "the lease was not taken");
                        timings.retry
                    }
                },
            };
            tokio::select! {
                biased;
                _ = changed.changed() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn take(&self, present: Option<&Lease>, spec: LeaseSpec) -> Result<Lease, String> {
        let name = self.election.name;
        let call = async {
            if let Some(present) = present {
                let lease = Lease { spec: Some(spec), ..present.clone() };
                return self.api.replace(name, &PostParams::default(), &lease).await;
            }
            let metadata = ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(NAMESPACE.to_owned()),
                ..ObjectMeta::default()
            };
            let lease = Lease { metadata, spec: Some(spec) };
            self.api.create(&PostParams::default(), &lease).await
        };
        match tokio::time::timeout(CALL_MAX, call).await {
            Ok(Ok(lease)) => Ok(lease),
            Ok(Err(error)) => Err(answer(&error)),
            Err(_elapsed) => Err("no answer in time".to_owned()),
        }
    }

    /// Renews until that fails for too long or `stop`. `renewed_at` is a moment before the last write that succeeded.
    async fn hold(
        &self,
        mut lease: Lease,
        mut renewed_at: Instant,
        stop: &CancellationToken,
    ) -> (Ended, Lease, Instant) {
        let Timings { renew_deadline, renew, retry, .. } = self.election.timings;
        let next = |renewed_at: Instant| aligned(renewed_at + renew, self.election.base, renew);
        let mut due = next(renewed_at);
        loop {
            let deadline = renewed_at + renew_deadline;
            tokio::select! {
                biased;
                () = stop.cancelled() => return (Ended::Stopped, lease, renewed_at),
                () = tokio::time::sleep_until(due.min(deadline)) => {}
            }
            let began = self.election.clock.now();
            if began >= deadline {
                return (Ended::Lost, lease, renewed_at);
            }
            let spec = lease.spec.clone().unwrap_or_default();
            let Some(wanted) = renewed(&spec, &self.election.identity, self.wall()) else {
                return (Ended::Lost, lease, renewed_at);
            };
            let wanted = Lease { spec: Some(wanted), ..lease.clone() };
            let params = PostParams::default();
            let call = self.api.replace(self.election.name, &params, &wanted);
            match tokio::time::timeout_at(deadline, call).await {
                Ok(Ok(written)) => {
                    (lease, renewed_at, due) = (written, began, next(began));
                }
                Ok(Err(kube::Error::Api(status))) if status.code == CONFLICT => {
                    // Ours after all if an answer got lost, else somebody's: the object says.
                    match tokio::time::timeout_at(deadline, self.api.get(self.election.name)).await {
                        Ok(Ok(present)) => (lease, due) = (present, began),
                        Ok(Err(_)) | Err(_) => due = began + retry,
                    }
                }
                Ok(Err(error)) => {
                    debug!(name = self.election.name, error = answer(&error), "the lease was not renewed");
                    due = began + retry;
                }
                Err(_elapsed) => return (Ended::Lost, lease, renewed_at),
            }
        }
    }

    async fn release(&self, lease: &Lease) {
        let spec = released(&lease.spec.clone().unwrap_or_default(), self.wall());
        if let Err(why) = self.take(Some(lease), spec).await {
            debug!(name = self.election.name, why, "the lease was not given up: it ends by itself");
        }
    }

    fn wall(&self) -> Timestamp {
        crate::time::now(self.election.clock.as_ref())
    }
}

/// A Lease that is ours.
struct Term {
    lease: Lease,
    renewed_at: Instant,
}
