//! One worker for every pod that is wanted or was left over: starts them, tells them, lets them go.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use mainstay_base::lifecycle::Tasks;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::admission::{NodeView, admit};
use crate::agent::Agent;
use crate::desired::Desired;
use crate::gc;
use crate::worker::{Failure, Wanted, Worker};

/// Ended workers waiting to be noticed.
const ENDED_MAX: usize = 256;

/// The workers' loop.
pub(crate) struct Workers {
    agent: Arc<Agent>,
    tasks: Tasks,
    desired: watch::Receiver<Option<Desired>>,
    node: watch::Receiver<NodeView>,
    by_uid: BTreeMap<String, watch::Sender<Wanted>>,
    ended: (mpsc::Sender<String>, mpsc::Receiver<String>),
}

impl Workers {
    /// Workers are tasks of `tasks`.
    pub(crate) fn new(
        agent: Arc<Agent>,
        tasks: Tasks,
        desired: watch::Receiver<Option<Desired>>,
        node: watch::Receiver<NodeView>,
    ) -> Self {
        Self { agent, tasks, desired, node, by_uid: BTreeMap::new(), ended: mpsc::channel(ENDED_MAX) }
    }

    /// Runs until stopped.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut known = self.agent.observer.known();
        loop {
            let desired = self.desired.borrow_and_update().clone();
            if let Some(desired) = &desired {
                self.follow(desired);
                known.borrow_and_update();
                self.end_orphans(desired);
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(uid) = self.ended.1.recv() => self.forget(&uid),
                changed = self.desired.changed() => if changed.is_err() { return },
                Ok(()) = known.changed() => {}
            }
        }
    }

    fn forget(&mut self, uid: &str) {
        self.by_uid.remove(uid);
        self.agent.observer.forget(uid);
    }

    fn follow(&mut self, desired: &Desired) {
        // Oldest first: with scarce resources the pod that came first stays.
        let mut fresh: Vec<&Arc<Pod>> = Vec::new();
        for (uid, pod) in desired.iter() {
            match self.by_uid.get(uid) {
                Some(worker) => {
                    worker.send_if_modified(|wanted| {
                        let same = Arc::ptr_eq(&wanted.pod, pod);
                        wanted.pod = Arc::clone(pod);
                        !same
                    });
                }
                None => fresh.push(pod),
            }
        }
        for (uid, worker) in &self.by_uid {
            if !desired.contains_key(uid) {
                worker.send_if_modified(|wanted| !std::mem::replace(&mut wanted.gone, true));
            }
        }
        fresh.sort_by_key(|pod| pod.metadata.creation_timestamp.clone());
        for pod in fresh {
            self.start(desired, pod);
        }
    }

    fn start(&mut self, desired: &Desired, pod: &Arc<Pod>) {
        let Some(uid) = pod.metadata.uid.clone() else { return };
        let rejected = self.refusal(desired, pod, &uid);
        if let Some(failure) = &rejected {
            self.agent.events.warning(pod, &failure.reason, failure.message.clone());
        }
        let (sender, receiver) = watch::channel(Wanted { pod: Arc::clone(pod), gone: false });
        let worker = Worker::new(Arc::clone(&self.agent), receiver, rejected);
        let (ended, name) = (self.ended.0.clone(), uid.clone());
        let stop = self.tasks.token();
        self.tasks.spawn(format!("pod {uid}"), async move {
            Box::pin(worker.run(stop)).await;
            // The loop is gone only when everything stops.
            ended.send(name).await.ok();
        });
        self.by_uid.insert(uid, sender);
    }

    /// Only pods that nothing was done for yet can be refused.
    fn refusal(&self, desired: &Desired, pod: &Pod, uid: &str) -> Option<Failure> {
        let started = pod.status.as_ref().is_some_and(|s| s.start_time.is_some());
        let known = !self.agent.observer.watch(uid).borrow().is_empty();
        if started || known || pod.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let others: Vec<&Pod> = desired
            .iter()
            .filter(|(id, _)| self.by_uid.contains_key(*id))
            .map(|(_, pod)| pod.as_ref())
            .collect();
        admit(pod, &others, &self.node.borrow()).err()
    }

    /// Pods in the runtime that the API does not know: deleted while the agent was down.
    fn end_orphans(&mut self, desired: &Desired) {
        for (uid, records) in self.agent.observer.uids() {
            if desired.contains_key(&uid) || self.by_uid.contains_key(&uid) {
                continue;
            }
            info!(
                pod = uid,
                namespace = records.namespace,
                name = records.name,
                "ending a pod without an object"
            );
            let pod = Arc::new(gc::stand_in(&uid, &records));
            let (sender, receiver) = watch::channel(Wanted { pod: Arc::clone(&pod), gone: true });
            let worker = Worker::new(Arc::clone(&self.agent), receiver, None);
            let (ended, name) = (self.ended.0.clone(), uid.clone());
            let stop = self.tasks.token();
            self.tasks.spawn(format!("orphan {uid}"), async move {
                Box::pin(worker.run(stop)).await;
                ended.send(name).await.ok();
            });
            self.by_uid.insert(uid, sender);
        }
    }
}
