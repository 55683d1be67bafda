//! Runs a [`Reconciler`] until it is stopped.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use mainstay_base::lifecycle::{Clock, Tasks};
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, error, info_span, warn};

use super::queue::{Outcome, WorkQueue};
use super::reconciler::{Next, ObserveError, Reconciler};
use super::watch::Watch;
use crate::ObjectKey;
use crate::step::{Actor, Kind, Written, answer};

/// How long a run waits for the caches to show the key's own writes before it goes on with what they have.
const OBSERVE_DEADLINE: Duration = Duration::from_secs(10);

/// What [`drive`] works with.
#[derive(Clone, Debug)]
pub struct Drive {
    /// Carries out the steps.
    pub actor: Actor,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// How many keys run at the same time.
    pub concurrency: usize,
    /// The delay after a key's first failure.
    pub retry_first: Duration,
    /// The longest delay after failures.
    pub retry_max: Duration,
}

impl Drive {
    /// Upstream's retry delays (5 ms doubling to 1000 s, here bounded by 60 s) and five keys at a time.
    pub fn new(actor: Actor, clock: Arc<dyn Clock>) -> Self {
        Self {
            actor,
            clock,
            concurrency: 5,
            retry_first: Duration::from_millis(5),
            retry_max: Duration::from_secs(60),
        }
    }

    /// The same with another number of keys at a time.
    #[must_use]
    pub fn concurrency(mut self, concurrency: usize) -> Self {
        self.concurrency = concurrency.max(1);
        self
    }
}

/// Runs `reconciler` in a task of its own until `tasks` ends.
pub fn drive<R: Reconciler>(reconciler: R, drive: Drive, tasks: &Tasks) {
    let watches = reconciler.watches();
    let name = reconciler.name();
    let (mut synced, mut keys, mut observed) = (Vec::new(), Vec::new(), Vec::new());
    for Watch { kind, synced: ready, keys: changed, observed: wait } in watches {
        synced.push(ready);
        keys.push(changed);
        observed.extend(kind.map(|kind| (kind, wait)));
    }
    let driver = Driver {
        queue: WorkQueue::new(drive.retry_first, drive.retry_max),
        shared: Arc::new(Shared { reconciler, actor: drive.actor, clock: drive.clock, observed }),
        concurrency: drive.concurrency,
        runs: JoinSet::new(),
        keys_of_runs: HashMap::new(),
        unseen: HashMap::new(),
    };
    let stop = tasks.token();
    let span = info_span!("controller", name);
    tasks.spawn(
        name,
        async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = join_all(synced) => debug!(controller = name, "caches synced"),
            }
            driver.run(stream::select_all(keys).boxed(), stop).await;
        }
        .instrument(span),
    );
}

type WaitFn = Arc<dyn Fn(u64) -> futures::future::BoxFuture<'static, ()> + Send + Sync>;

struct Shared<R> {
    reconciler: R,
    actor: Actor,
    clock: Arc<dyn Clock>,
    observed: Vec<(Kind, WaitFn)>,
}

struct Driver<R> {
    queue: WorkQueue,
    shared: Arc<Shared<R>>,
    concurrency: usize,
    runs: JoinSet<(Outcome, Vec<Written>)>,
    keys_of_runs: HashMap<Id, ObjectKey>,
    /// What each key wrote in its last run.
    unseen: HashMap<ObjectKey, Vec<Written>>,
}

impl<R: Reconciler> Driver<R> {
    async fn run(mut self, mut keys: BoxStream<'static, Vec<ObjectKey>>, stop: CancellationToken) {
        loop {
            self.start_runs();
            let due = self.queue.next_due();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(changed) = keys.next() => changed.into_iter().for_each(|key| self.queue.add(key)),
                Some(ended) = self.runs.join_next_with_id() => self.release(ended),
                () = sleep_until(due) => {}
                else => break,
            }
        }
        // Runs only call the API; a call cut off here is repeated by whoever runs next.
        self.runs.shutdown().await;
    }

    fn start_runs(&mut self) {
        while self.queue.running() < self.concurrency {
            let Some(key) = self.queue.pop(self.shared.clock.now()) else { return };
            let shared = Arc::clone(&self.shared);
            let unseen = self.unseen.remove(&key).unwrap_or_default();
            let span = info_span!("reconcile", key = %key);
            let running = key.clone();
            let run = async move { shared.reconcile(&running, unseen).await };
            let handle = self.runs.spawn(run.instrument(span));
            self.keys_of_runs.insert(handle.id(), key);
        }
    }

    fn release(&mut self, ended: Result<(Id, (Outcome, Vec<Written>)), JoinError>) {
        let (id, outcome, written) = match ended {
            Ok((id, (outcome, written))) => (id, outcome, written),
            Err(join) if join.is_cancelled() => (join.id(), Outcome::Failed, Vec::new()), // tokio is shutting down
            Err(join) => {
                error!(controller = self.shared.reconciler.name(), %join, "a run panicked: its key is released");
                (join.id(), Outcome::Failed, Vec::new())
            }
        };
        let Some(key) = self.keys_of_runs.remove(&id) else { return };
        if !written.is_empty() {
            self.unseen.insert(key.clone(), written);
        }
        self.queue.done(key, outcome, self.shared.clock.now());
    }
}

impl<R: Reconciler> Shared<R> {
    async fn reconcile(&self, key: &ObjectKey, unseen: Vec<Written>) -> (Outcome, Vec<Written>) {
        if tokio::time::timeout(OBSERVE_DEADLINE, self.see(&unseen)).await.is_err() {
            warn!(controller = self.reconciler.name(), %key, "the caches do not show the last writes: going on");
        }
        let mut written = Vec::new();
        let outcome = self.once(key, &mut written).await;
        written.retain(|written| written.revision > 0);
        (outcome, written)
    }

    async fn once(&self, key: &ObjectKey, written: &mut Vec<Written>) -> Outcome {
        let controller = self.reconciler.name();
        let now = crate::time::now(self.clock.as_ref());
        let world = match self.reconciler.observe(key, now).await {
            Ok(Some(world)) => world,
            Ok(None) => return Outcome::Done,
            Err(error) => {
                warn!(controller, %key, %error, cause = cause(&error), "observing failed");
                return Outcome::Failed;
            }
        };
        let (steps, next) = self.reconciler.plan(&world);
        let Err(error) = self.actor.act(&steps, written).await else {
            return match next {
                Next::Done => Outcome::Done,
                Next::After(delay) => Outcome::After(delay),
            };
        };
        if error.is_namespace_terminating() {
            debug!(controller, %key, "the namespace is being deleted: nothing can be created in it");
            return Outcome::Done;
        }
        if error.is_stale() {
            debug!(controller, %key, %error, answer = error.answer(), "acted on a stale state: trying again");
        } else {
            warn!(controller, %key, %error, answer = error.answer(), "acting failed");
        }
        if let Err(error) = self.actor.act(&self.reconciler.failed(&world, &error), written).await {
            debug!(controller, %key, %error, answer = error.answer(), "recording the failure failed");
        }
        Outcome::Failed
    }

    /// Waits until the caches show `writes`.
    async fn see(&self, writes: &[Written]) {
        for Written { kind, revision } in writes {
            for (watched, observed) in &self.observed {
                if watched == kind {
                    observed(*revision).await;
                }
            }
        }
    }
}

async fn sleep_until(due: Option<tokio::time::Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Why the world could not be read, in short.
fn cause(error: &ObserveError) -> String {
    match error.source.downcast_ref::<kube::Error>() {
        Some(source) => answer(source),
        None => error.source.to_string(),
    }
}
