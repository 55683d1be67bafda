//! The runtime: one per data directory.

use super::records::{ContainerRecord, SandboxRecord};
use crate::cgroup::Hierarchies;
use crate::config::{Config, Paths};
use crate::failure::{Attempt, Failure, Result};
use crate::images::{Images, nanoseconds};
use crate::network::Network;
use crate::shim::{Client, Exit};
use mainstay_base::lifecycle::{Clock, SystemClock, Tasks};
use mainstay_proto_wire::cri::{CriResult, v1};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fs::File;
use std::sync::{Arc, Weak};
use tokio::sync::{broadcast, oneshot, watch};

/// How many events a slow subscriber may lag behind.
const EVENTS_MAX: usize = 4096;

/// Sandboxes, containers and images of one node.
pub struct Runtime {
    pub(super) config: Config,
    pub(super) paths: Paths,
    pub(super) images: Images,
    pub(super) network: Network,
    pub(super) groups: Hierarchies,
    /// The executable of shims, on a mount that cannot be written.
    pub(super) exe: File,
    pub(super) tasks: Tasks,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) events: broadcast::Sender<v1::ContainerEventResponse>,
    pub(super) sandboxes: Mutex<HashMap<String, Arc<Sandbox>>>,
    pub(super) containers: Mutex<HashMap<String, Arc<Container>>>,
    pub(super) me: Weak<Self>,
    /// Only one daemon may work with a data directory.
    pub(super) _lock: crate::durable::Lock,
}

/// A sandbox in memory.
pub(super) struct Sandbox {
    pub(super) config: v1::PodSandboxConfig,
    pub(super) record: Mutex<SandboxRecord>,
    pub(super) shim: Mutex<Option<Client>>,
    /// Who waits for the end of an exec.
    pub(super) execs: Mutex<HashMap<String, oneshot::Sender<CriResult<i32>>>>,
    /// One change at a time.
    pub(super) turn: tokio::sync::Mutex<()>,
}

impl Sandbox {
    pub(super) fn id(&self) -> String {
        self.record.lock().id.clone()
    }

    /// Its shim, while it lives.
    pub(super) fn shim(&self) -> Result<Client> {
        self.shim.lock().clone().ok_or_else(|| Failure::precondition("the pod sandbox is not ready"))
    }

    pub(super) fn ready(&self) -> bool {
        self.shim.lock().is_some() && !self.record.lock().stopped
    }
}

/// Where a container is in its life.
#[derive(Debug, Clone)]
pub(super) enum Phase {
    Created,
    Running { pid: i32, started_at: i64 },
    Exited { started_at: i64, exit: Exit },
}

/// A container in memory.
pub(super) struct Container {
    pub(super) record: ContainerRecord,
    pub(super) config: Mutex<v1::ContainerConfig>,
    pub(super) phase: watch::Sender<Phase>,
    /// One start or removal at a time.
    pub(super) turn: tokio::sync::Mutex<()>,
}

impl Container {
    pub(super) fn phase(&self) -> Phase {
        self.phase.borrow().clone()
    }

    /// Waits until it has exited.
    pub(super) async fn exited(&self) {
        let mut phase = self.phase.subscribe();
        // The sender lives in `self`: the wait cannot fail.
        drop(phase.wait_for(|phase| matches!(phase, Phase::Exited { .. })).await);
    }
}

impl Runtime {
    /// Opens the data directory and takes over what runs. One daemon at a time.
    ///
    /// # Errors
    /// When another daemon has the directory, or the node lacks something; the text says what.
    pub async fn open(config: Config, tasks: &Tasks) -> Result<Arc<Self>> {
        config.validate()?;
        super::recover::open(config, tasks.clone(), Arc::new(SystemClock)).await
    }

    /// The images of this runtime.
    pub fn images(&self) -> &Images {
        &self.images
    }

    /// This node's pod address range.
    pub fn pod_cidr(&self) -> ipnet::Ipv4Net {
        self.config.pod_cidr
    }

    pub(super) fn now(&self) -> i64 {
        nanoseconds(self.clock.wall())
    }

    /// Capacity of the event stream.
    pub(super) fn event_channel() -> broadcast::Sender<v1::ContainerEventResponse> {
        broadcast::channel(EVENTS_MAX).0
    }

    pub(super) fn me(&self) -> Result<Arc<Self>> {
        self.me.upgrade().ok_or_else(|| Failure::internal("the runtime is closing"))
    }

    pub(super) fn sandbox(&self, id: &str) -> Result<Arc<Sandbox>> {
        let found = self.find_sandbox(id);
        found.ok_or_else(|| Failure::not_found(format!("pod sandbox {id:?} not found")))
    }

    pub(super) fn find_sandbox(&self, id: &str) -> Option<Arc<Sandbox>> {
        self.sandboxes.lock().get(id).cloned()
    }

    pub(super) fn container(&self, id: &str) -> Result<Arc<Container>> {
        let found = self.find_container(id);
        found.ok_or_else(|| Failure::not_found(format!("container {id:?} not found")))
    }

    pub(super) fn find_container(&self, id: &str) -> Option<Arc<Container>> {
        self.containers.lock().get(id).cloned()
    }

    pub(super) fn containers_of(&self, sandbox: &str) -> Vec<Arc<Container>> {
        let all = self.containers.lock();
        let mut found: Vec<_> = all.values().filter(|one| one.record.sandbox == sandbox).cloned().collect();
        found.sort_by_key(|one| one.record.created_at);
        found
    }

    /// Runs disk work on the pool for it.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let me = self.me()?;
        tokio::task::spawn_blocking(move || work(&me)).await.attempt("waiting for disk work")?
    }

    /// Tells subscribers; that there may be none is fine.
    pub(super) fn announce(&self, container: &Container, kind: v1::ContainerEventType) {
        let sandbox = self.find_sandbox(&container.record.sandbox);
        let message = v1::ContainerEventResponse {
            container_id: container.record.id.clone(),
            container_event_type: kind.into(),
            created_at: self.now(),
            pod_sandbox_status: sandbox.map(|sandbox| super::status::sandbox_status(&sandbox)),
            containers_statuses: vec![super::status::container_status(container)],
        };
        drop(self.events.send(message));
    }

    /// Tells subscribers of a sandbox; as upstream's runtimes do, its own id stands for its container's.
    pub(super) fn announce_sandbox(&self, sandbox: &Sandbox, kind: v1::ContainerEventType) {
        let id = sandbox.id();
        let containers = self.containers_of(&id);
        let message = v1::ContainerEventResponse {
            container_id: id,
            container_event_type: kind.into(),
            created_at: self.now(),
            pod_sandbox_status: Some(super::status::sandbox_status(sandbox)),
            containers_statuses: containers.iter().map(|one| super::status::container_status(one)).collect(),
        };
        drop(self.events.send(message));
    }
}

/// A new random name: 32 hex digits.
pub(super) fn new_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}
