//! The scheduler's one loop: it owns the snapshot and the queue, takes in changes, and places one pod at a time. Writes
//! run beside it.

use std::collections::HashSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use mainstay_agents_kit::ObjectKey;
use mainstay_agents_kit::events::EventType;
use mainstay_agents_kit::informer::{Change, Reader};
use mainstay_agents_kit::step::{ActError, Actor, Step};
use mainstay_agents_kit::time;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::config::Config;
use crate::events::ClusterEvent;
use crate::outcome;
use crate::place::{Placement, Plugins, place};
use crate::queue::{Queue, Queued};
use crate::state::{PodInfo, Snapshot};

pub(crate) struct Scheduler {
    config: Config,
    actor: Actor,
    pods: Reader<Pod>,
    nodes: Reader<Node>,
    plugins: Plugins,
    snapshot: Snapshot,
    queue: Queue,
    writes: JoinSet<Option<Bound>>,
    /// Where the next search begins.
    start: usize,
}

/// How a binding ended.
struct Bound {
    queued: Queued,
    node: String,
    result: Result<(), ActError>,
}

impl Scheduler {
    pub(crate) fn new(config: Config, actor: Actor, pods: Reader<Pod>, nodes: Reader<Node>) -> Self {
        Self {
            config,
            actor,
            pods,
            nodes,
            plugins: Plugins { filters: crate::filters::all(), scores: crate::scores::all() },
            snapshot: Snapshot::default(),
            queue: Queue::default(),
            writes: JoinSet::new(),
            start: 0,
        }
    }

    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let (mut pods, mut nodes) = (self.pods.subscribe(), self.nodes.subscribe());
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = async { self.nodes.synced().await; self.pods.synced().await } => {}
        }
        // Nodes first: the first look at the pods finds them on their nodes.
        loop {
            let now = self.config.clock.now();
            let ready = self.queue.is_ready(now) && self.writes.len() < self.config.writes_in_flight_max;
            let due = self.queue.next_due().filter(|due| *due > now);
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(change) = nodes.next() => self.take_node(change),
                Some(change) = pods.next() => self.take_pod(change),
                Some(written) = self.writes.join_next() => match written {
                    Ok(bound) => bound.into_iter().for_each(|bound| self.take_bound(bound)),
                    Err(join) => error!(%join, "a write panicked"),
                },
                () = std::future::ready(()), if ready => self.schedule_one(),
                () = sleep_until(due) => {}
            }
        }
        self.writes.shutdown().await;
    }

    fn schedule_one(&mut self) {
        let now = self.config.clock.now();
        let Some(queued) = self.queue.pop(now) else { return };
        self.start = self.start.wrapping_add(1);
        match place(&self.plugins, &queued.pod, &self.snapshot, self.start) {
            Placement::Node(node) => self.bind(queued, node),
            Placement::Nowhere(diagnosis) => {
                let message = diagnosis.message();
                info!(pod = %queued.pod.key, message, "no node fits");
                self.explain(&queued.pod, "Unschedulable", &message);
                self.queue.unschedulable(queued, diagnosis.plugins, now);
            }
        }
    }

    fn bind(&mut self, queued: Queued, node: String) {
        debug!(pod = %queued.pod.key, node, "binding");
        self.snapshot.assume(Arc::clone(&queued.pod), &node);
        let actor = self.actor.clone();
        let step = outcome::binding(&queued.pod.pod, &node);
        self.writes.spawn(async move {
            let result = actor.act(std::slice::from_ref(&step), &mut Vec::new()).await;
            Some(Bound { queued, node, result })
        });
    }

    fn take_bound(&mut self, Bound { queued, node, result }: Bound) {
        let pod = Arc::clone(&queued.pod);
        let Err(error) = result else {
            let ObjectKey { namespace, name } = &pod.key;
            info!(pod = %pod.key, node, "bound");
            let message = format!("Successfully assigned {namespace}/{name} to {node}");
            self.actor.recorder().event(pod.pod.as_ref(), EventType::Normal, "Scheduled", message);
            return;
        };
        self.snapshot.forget(&pod.key, &pod.uid);
        self.wake(ClusterEvent::PodGone);
        if self.is_still_pending(&pod) {
            let reason =
                std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            warn!(pod = %pod.key, node, reason, "binding failed");
            self.explain(&pod, "SchedulerError", &format!("binding rejected: {reason}"));
            self.queue.retry(queued, self.config.clock.now());
        }
    }

    /// Tells the user why the pod has no node: an event and the pod's condition.
    fn explain(&mut self, info: &PodInfo, reason: &str, message: &str) {
        let cached = self.pods.get(&info.key).filter(|cached| cached.metadata.uid == info.pod.metadata.uid);
        let Some(pod) = cached else { return };
        self.actor.recorder().event(pod.as_ref(), EventType::Warning, "FailedScheduling", message.to_owned());
        let now = time::now(self.config.clock.as_ref());
        if let Some(step) = outcome::not_scheduled(&pod, reason, message, now) {
            self.write(step);
        }
    }

    fn write(&mut self, step: Step) {
        let actor = self.actor.clone();
        self.writes.spawn(async move {
            if let Err(error) = actor.act(std::slice::from_ref(&step), &mut Vec::new()).await {
                debug!(%error, "a pod's condition was not written");
            }
            None
        });
    }

    fn is_still_pending(&self, info: &PodInfo) -> bool {
        self.pods.get(&info.key).is_some_and(|pod| {
            let cached = PodInfo::new(pod);
            cached.uid == info.uid && self.is_pending(&cached)
        })
    }

    /// Whether the pod is this scheduler's to place.
    fn is_pending(&self, info: &PodInfo) -> bool {
        let Some(spec) = info.spec() else { return false };
        info.node_name().is_none()
            && info.pod.metadata.deletion_timestamp.is_none()
            && spec.scheduler_name.as_deref().unwrap_or("default-scheduler") == self.config.scheduler_name
            && spec.scheduling_gates.as_ref().is_none_or(Vec::is_empty)
            && !is_finished(&info.pod)
    }

    fn take_pod(&mut self, change: Change<Pod>) {
        let (key, new) = match change {
            Change::Object { key, new, .. } => (key, new),
            Change::Resync => return self.resync_pods(),
        };
        match new {
            Some(pod) => self.set_pod(pod),
            None => self.lose_pod(&key),
        }
    }

    fn resync_pods(&mut self) {
        let pods = self.pods.snapshot();
        let present: HashSet<ObjectKey> = pods.iter().map(|(key, _)| key.clone()).collect();
        let (_, assigned) = self.snapshot.known();
        for key in assigned.into_iter().chain(self.queue.keys()) {
            if !present.contains(&key) {
                self.lose_pod(&key);
            }
        }
        for pod in pods.values() {
            self.set_pod(Arc::clone(pod));
        }
    }

    fn set_pod(&mut self, pod: Arc<Pod>) {
        let info = Arc::new(PodInfo::new(pod));
        let key = info.key.clone();
        if is_finished(&info.pod) {
            self.lose_pod(&key);
        } else if let Some(node) = info.node_name().map(str::to_owned) {
            self.queue.remove(&key);
            self.snapshot.add_pod(info, &node);
            self.wake(ClusterEvent::PodPlaced);
        } else if self.is_pending(&info) {
            if !self.snapshot.is_assumed(&key, &info.uid) {
                self.queue.upsert(info, self.config.clock.now());
            }
        } else {
            self.queue.remove(&key);
        }
    }

    fn lose_pod(&mut self, key: &ObjectKey) {
        self.queue.remove(key);
        if self.snapshot.remove_pod(key) {
            self.wake(ClusterEvent::PodGone);
        }
    }

    fn take_node(&mut self, change: Change<Node>) {
        match change {
            Change::Object { key, old, new } => match new {
                Some(node) => self.set_node(old.as_deref(), node),
                None => self.snapshot.remove_node(&key.name),
            },
            Change::Resync => {
                let (known, _) = self.snapshot.known();
                for name in known {
                    if self.nodes.get(&ObjectKey::cluster(name.as_str())).is_none() {
                        self.snapshot.remove_node(&name);
                    }
                }
                for node in self.nodes.list() {
                    self.set_node(None, node);
                }
            }
        }
    }

    fn set_node(&mut self, old: Option<&Node>, node: Arc<Node>) {
        let events = node_events(old, &node);
        self.snapshot.set_node(node);
        for event in events {
            self.wake(event);
        }
    }

    fn wake(&mut self, event: ClusterEvent) {
        let filters = &self.plugins.filters;
        let is_helped = |plugin: &'static str| {
            filters.iter().any(|filter| filter.name() == plugin && filter.helped_by().contains(&event))
        };
        self.queue.wake(is_helped, self.config.clock.now());
    }
}

/// Which sorts of change lie between two states of a node.
fn node_events(old: Option<&Node>, new: &Node) -> Vec<ClusterEvent> {
    let Some(old) = old else { return vec![ClusterEvent::NodeAdded] };
    let mut events = Vec::new();
    let allocatable = |node: &Node| node.status.as_ref().and_then(|status| status.allocatable.clone());
    let keeps_away = |node: &Node| {
        let spec = node.spec.as_ref();
        (spec.and_then(|spec| spec.taints.clone()), spec.and_then(|spec| spec.unschedulable))
    };
    if allocatable(old) != allocatable(new) {
        events.push(ClusterEvent::NodeAllocatable);
    }
    if old.metadata.labels != new.metadata.labels {
        events.push(ClusterEvent::NodeLabels);
    }
    if keeps_away(old) != keeps_away(new) {
        events.push(ClusterEvent::NodeTaints);
    }
    events
}

fn is_finished(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
