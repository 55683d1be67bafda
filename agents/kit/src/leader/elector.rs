//! The loop of one candidate.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ObjectMeta, PostParams};
use mainstay_base::lifecycle::{Clock, Tasks};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::rule::{Move, Timings, aligned, candidate, released, renewed};
use crate::informer::{Filter, Reader, start};
use crate::step::answer;

const NAMESPACE: &str = "kube-system";
/// How long one call of a candidate may take.
const CALL_MAX: Duration = Duration::from_secs(2);
/// How long loops may take to end in order.
const STOP_GRACE: Duration = Duration::from_secs(8);
const NOT_FOUND: u16 = 404;
const CONFLICT: u16 = 409;

/// Starts the loops that only a leader runs; they must end with the tasks they are given.
pub type Started = Arc<dyn Fn(&Tasks) + Send + Sync>;

/// One thing that one process of several does.
pub struct Election {
    /// The Lease's name in kube-system, such as `kube-scheduler`.
    pub name: &'static str,
    /// Who we are, see [`identity`](super::identity).
    pub identity: String,
    /// Whether this process may lead: at most one does. It must turn false in time for the loops to end before another's turns true and
    /// [`Timings::succession`] is over.
    pub mandate: watch::Receiver<bool>,
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
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// Another process may lead, somebody else has the Lease, or it could not be renewed in time.
    Lost,
    /// This process ends.
    Stopped,
}

impl Elector {
    async fn serve_one_term(&self, tasks: &Tasks, stop: &CancellationToken, started: &Started) {
        let name = self.election.name;
        let mut held = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            won = self.win() => won,
        };
        info!(name, identity = self.election.identity, "leads");
        let term = tasks.child(name);
        started(&term);
        let mut mandate = self.election.mandate.clone();
        let ended = tokio::select! {
            biased;
            () = turns(&mut mandate, false) => Ended::Lost, // a renewal under way is dropped
            ended = self.hold(&mut held, stop) => ended,
        };
        let mut grace = if ended == Ended::Lost { self.election.timings.succession } else { STOP_GRACE };
        while let Err(running) = term.close_and_join(grace).await {
            warn!(name, ?running, "loops of a term that is over have not ended yet");
            grace = STOP_GRACE;
        }
        if ended == Ended::Lost {
            info!(name, identity = self.election.identity, "does not lead any more: its loops have ended");
        }
        self.release(&held.lease).await;
    }

    /// Waits until we have the mandate and the Lease is ours.
    async fn win(&self) -> Term {
        let mut mandate = self.election.mandate.clone();
        let mut changed = self.seen.changed();
        self.seen.synced().await;
        let mut last: (Option<String>, Instant) = (None, self.election.clock.now());
        loop {
            if !*mandate.borrow_and_update() {
                turns(&mut mandate, true).await;
                last = (None, self.election.clock.now());
            }
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
                () = turns(&mut mandate, false) => {}
                Ok(()) = changed.changed() => {}
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

    /// Renews until that fails for too long or `stop`.
    async fn hold(&self, term: &mut Term, stop: &CancellationToken) -> Ended {
        let Timings { renew_deadline, renew, retry, .. } = self.election.timings;
        let Term { lease, renewed_at } = term;
        let mut changed = self.seen.changed();
        let next = |renewed_at: Instant| aligned(renewed_at + renew, self.election.base, renew);
        let mut due = next(*renewed_at);
        loop {
            let deadline = *renewed_at + renew_deadline;
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ended::Stopped,
                () = tokio::time::sleep_until(due.min(deadline)) => {}
                // Nobody should have taken it: the next renewal, at once, shows whether that is old news.
                Ok(()) = changed.changed() => if !self.sees_another() { continue },
            }
            let began = self.election.clock.now();
            if began >= deadline {
                return Ended::Lost;
            }
            let spec = lease.spec.clone().unwrap_or_default();
            let Some(wanted) = renewed(&spec, &self.election.identity, self.wall()) else {
                return Ended::Lost;
            };
            let renewed = Lease { spec: Some(wanted.clone()), ..lease.clone() };
            let params = PostParams::default();
            let call = self.api.replace(self.election.name, &params, &renewed);
            match tokio::time::timeout_at(deadline, call).await {
                Ok(Ok(written)) => {
                    (*lease, *renewed_at, due) = (written, began, next(began));
                }
                Ok(Err(kube::Error::Api(status))) if status.code == CONFLICT => {
                    // Ours after all if an answer got lost, else somebody's: the object says.
                    match tokio::time::timeout_at(deadline, self.api.get(self.election.name)).await {
                        Ok(Ok(present)) => (*lease, due) = (present, began),
                        Ok(Err(_)) | Err(_) => due = began + retry,
                    }
                }
                Ok(Err(kube::Error::Api(status))) if status.code == NOT_FOUND => {
                    match self.take(None, wanted).await {
                        Ok(made) => (*lease, *renewed_at, due) = (made, began, next(began)),
                        Err(why) => {
                            debug!(
                                name = self.election.name,
                                why, "the lease is gone, and was not made again"
                            );
                            due = began + retry;
                        }
                    }
                }
                Ok(Err(error)) => {
                    debug!(name = self.election.name, error = answer(&error), "the lease was not renewed");
                    due = began + retry;
                }
                Err(_elapsed) => return Ended::Lost,
            }
        }
    }

    fn sees_another(&self) -> bool {
        let seen = self.seen.get_named(NAMESPACE, self.election.name);
        let holder = seen.as_ref().and_then(|lease| lease.spec.as_ref()?.holder_identity.as_ref());
        holder.is_some_and(|holder| *holder != self.election.identity)
    }

    async fn release(&self, lease: &Lease) {
        let held = lease.spec.clone().unwrap_or_default();
        let Some(spec) = released(&held, &self.election.identity, self.wall()) else { return };
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
    /// A moment before the last write that succeeded.
    renewed_at: Instant,
}

/// Waits until the mandate is this. What nobody tells of any more stays as it is.
async fn turns(mandate: &mut watch::Receiver<bool>, given: bool) {
    if mandate.wait_for(|now| *now == given).await.is_err() {
        std::future::pending::<()>().await;
    }
}
