//! What runs on this node, kept current by the runtime's event stream. An event is only a hint which pod to look at;
//! the records always come from list and status calls. Everything is listed at start and after a lost event.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use mainstay_proto_wire::cri::{ContainerEvents, CriError, CriResult, RuntimeService, v1};
use parking_lot::Mutex;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::names::{self, PodDirs};
use crate::runtime_state::{ContainerRecord, PodRuntime, container_record, sandbox_record};
use crate::termination_message;

/// How long the runtime may take to answer a list or a status call.
const CALL_DEADLINE: Duration = Duration::from_secs(30);
/// How long to wait before a failed listing is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The runtime's pods, by uid.
pub(crate) struct Observer {
    runtime: Arc<dyn RuntimeService>,
    dirs: PodDirs,
    pods: Mutex<HashMap<String, Arc<Slot>>>,
    /// Counts changes of the set of uids.
    known: watch::Sender<u64>,
}

struct Slot {
    /// One refresh at a time, so that an older answer never replaces a newer one.
    turn: tokio::sync::Mutex<()>,
    state: watch::Sender<Arc<PodRuntime>>,
}

impl Observer {
    /// Knows nothing until [`Observer::relist`].
    pub(crate) fn new(runtime: Arc<dyn RuntimeService>, dirs: PodDirs) -> Self {
        Self { runtime, dirs, pods: Mutex::default(), known: watch::Sender::new(0) }
    }

    /// The records of one pod, now and later.
    pub(crate) fn watch(&self, uid: &str) -> watch::Receiver<Arc<PodRuntime>> {
        self.slot(uid).state.subscribe()
    }

    /// The uids that have something in the runtime.
    pub(crate) fn uids(&self) -> BTreeMap<String, Arc<PodRuntime>> {
        let pods = self.pods.lock();
        let records = pods.iter().map(|(uid, slot)| (uid.clone(), slot.state.borrow().clone()));
        records.filter(|(_, state)| !state.is_empty()).collect()
    }

    /// Wakes when the set of uids changes.
    pub(crate) fn known(&self) -> watch::Receiver<u64> {
        self.known.subscribe()
    }

    /// Forgets a pod that nobody wants and nothing runs of.
    pub(crate) fn forget(&self, uid: &str) {
        let mut pods = self.pods.lock();
        if pods.get(uid).is_some_and(|slot| slot.state.borrow().is_empty()) {
            pods.remove(uid);
        }
    }

    fn slot(&self, uid: &str) -> Arc<Slot> {
        let mut pods = self.pods.lock();
        let slot = pods.entry(uid.to_owned()).or_insert_with(|| {
            Arc::new(Slot { turn: tokio::sync::Mutex::new(()), state: watch::Sender::new(Arc::default()) })
        });
        Arc::clone(slot)
    }

    /// Asks the runtime about one pod and publishes the answer before it returns.
    pub(crate) async fn refresh(&self, uid: &str) -> CriResult<()> {
        let slot = self.slot(uid);
        let _turn = slot.turn.lock().await;
        let before = slot.state.borrow().clone();
        let after = Arc::new(self.fetch(uid, &before).await?);
        if *before != *after {
            let appeared = before.is_empty() != after.is_empty();
            slot.state.send_replace(after);
            if appeared {
                self.known.send_modify(|n| *n += 1);
            }
        }
        Ok(())
    }

    async fn fetch(&self, uid: &str, before: &PodRuntime) -> CriResult<PodRuntime> {
        let selector: BTreeMap<_, _> = [(names::POD_UID.to_owned(), uid.to_owned())].into();
        let filter = v1::PodSandboxFilter { label_selector: selector.clone(), ..Default::default() };
        let request = v1::ListPodSandboxRequest { filter: Some(filter) };
        let listed = deadline(self.runtime.list_pod_sandbox(request)).await?.items;
        let mut pod = PodRuntime::default();
        for sandbox in listed {
            let request = v1::PodSandboxStatusRequest { pod_sandbox_id: sandbox.id, verbose: false };
            let Some(status) = found(deadline(self.runtime.pod_sandbox_status(request)).await)? else {
                continue;
            };
            let Some(status) = status.status else { continue };
            let metadata = status.metadata.clone().unwrap_or_default();
            (pod.name, pod.namespace) = (metadata.name, metadata.namespace);
            pod.sandboxes.push(sandbox_record(&status));
        }
        let filter = v1::ContainerFilter { label_selector: selector, ..Default::default() };
        let request = v1::ListContainersRequest { filter: Some(filter) };
        for container in deadline(self.runtime.list_containers(request)).await?.containers {
            // The record of an exited container never changes.
            if let Some(old) = before.containers.iter().find(|c| c.id == container.id && c.exited()) {
                pod.containers.push(old.clone());
            } else if let Some(record) = self.container(uid, &container).await? {
                pod.containers.push(record);
            }
        }
        pod.sort();
        Ok(pod)
    }

    async fn container(&self, uid: &str, listed: &v1::Container) -> CriResult<Option<ContainerRecord>> {
        let request = v1::ContainerStatusRequest { container_id: listed.id.clone(), verbose: false };
        let Some(response) = found(deadline(self.runtime.container_status(request)).await)? else {
            return Ok(None);
        };
        let Some(status) = response.status else { return Ok(None) };
        let mut record = container_record(&listed.pod_sandbox_id, &status);
        if record.exited() && record.message.is_empty() {
            let source = termination_message::Source::of(&self.dirs, uid, &record, &status);
            record.message = termination_message::read(source).await;
        }
        Ok(Some(record))
    }

    /// Looks at every pod that the runtime has, or that we thought it had.
    pub(crate) async fn relist(&self) -> CriResult<()> {
        let mut uids: Vec<String> = self.pods.lock().keys().cloned().collect();
        let sandboxes = deadline(self.runtime.list_pod_sandbox(v1::ListPodSandboxRequest::default())).await?;
        uids.extend(sandboxes.items.into_iter().filter_map(|s| s.labels.get(names::POD_UID).cloned()));
        let containers = deadline(self.runtime.list_containers(v1::ListContainersRequest::default())).await?;
        uids.extend(containers.containers.into_iter().filter_map(|c| c.labels.get(names::POD_UID).cloned()));
        uids.sort();
        uids.dedup();
        for uid in uids {
            self.refresh(&uid).await?;
        }
        Ok(())
    }

    /// Follows `events` until stopped. The stream must be older than the caller's [`Observer::relist`].
    pub(crate) async fn run(self: Arc<Self>, mut events: ContainerEvents, stop: CancellationToken) {
        let mut lost = false;
        loop {
            if lost && let Err(error) = self.relist().await {
                warn!(%error, "listing the runtime's pods failed");
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(RETRY) => {}
                }
                continue;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                event = events.recv() => match event {
                    Ok(event) => lost = !self.take(&event).await,
                    Err(RecvError::Lagged(missed)) => {
                        debug!(missed, "runtime events were missed");
                        lost = true;
                    }
                    Err(RecvError::Closed) => {
                        tokio::select! {
                            biased;
                            () = stop.cancelled() => return,
                            () = tokio::time::sleep(RETRY) => {}
                        }
                        events = self.runtime.get_container_events();
                        lost = true;
                    }
                }
            }
        }
    }

    /// False when the event's pod could not be looked at.
    async fn take(&self, event: &v1::ContainerEventResponse) -> bool {
        let named =
            event.pod_sandbox_status.as_ref().and_then(|s| s.metadata.as_ref()).map(|m| m.uid.clone());
        let Some(uid) = named.filter(|uid| !uid.is_empty()).or_else(|| self.owner(&event.container_id))
        else {
            return false;
        };
        match self.refresh(&uid).await {
            Ok(()) => true,
            Err(error) => {
                warn!(pod = uid, %error, "looking at a pod after an event failed");
                false
            }
        }
    }

    fn owner(&self, container_id: &str) -> Option<String> {
        let pods = self.pods.lock();
        let mut all = pods.iter();
        all.find(|(_, slot)| {
            let state = slot.state.borrow();
            state.containers.iter().any(|c| c.id == container_id)
                || state.sandboxes.iter().any(|s| s.id == container_id)
        })
        .map(|(uid, _)| uid.clone())
    }
}

/// An object that went away between list and status is simply not there.
fn found<T>(answer: CriResult<T>) -> CriResult<Option<T>> {
    use mainstay_proto_wire::cri::Code;
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.code == Code::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

async fn deadline<T>(call: impl Future<Output = CriResult<T>>) -> CriResult<T> {
    use mainstay_proto_wire::cri::Code;
    match tokio::time::timeout(CALL_DEADLINE, call).await {
        Ok(answer) => answer,
        Err(_elapsed) => Err(CriError::new(Code::DeadlineExceeded, "the runtime did not answer in 30 s")),
    }
}
