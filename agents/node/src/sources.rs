//! The `ConfigMap`s and Secrets that this node's pods refer to, each kept by its own narrow watch for as long as a pod
//! holds a lease on it. The node never lists a whole namespace.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use mainstay_agents_kit::informer::{Filter, Informed, Reader, start};
use mainstay_base::lifecycle::{Clock, Tasks};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long the first read of an object may take.
const SYNC_DEADLINE: Duration = Duration::from_secs(30);

/// Namespace and name.
type Key = (String, String);

/// One kind's leased objects.
pub(crate) struct Leases<K: Informed> {
    client: kube::Client,
    tasks: Tasks,
    clock: Arc<dyn Clock>,
    held: Mutex<HashMap<Key, Weak<Lease<K>>>>,
    changes: watch::Sender<u64>,
}

/// A live view of one object; dropping the last one ends its watch.
pub(crate) struct Lease<K: Informed> {
    namespace: String,
    name: String,
    reader: Reader<K>,
    _end: DropGuard,
}

/// The object has not been read in time.
#[derive(Debug, Clone, thiserror::Error)]
#[error("failed to sync {kind} cache: timed out waiting for the condition")]
pub(crate) struct SyncError {
    kind: String,
}

impl<K: Informed + kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>> Leases<K> {
    fn new(client: kube::Client, tasks: Tasks, clock: Arc<dyn Clock>, changes: watch::Sender<u64>) -> Self {
        Self { client, tasks, clock, held: Mutex::default(), changes }
    }

    /// A lease on one object, shared with everyone who holds one.
    pub(crate) fn lease(&self, namespace: &str, name: &str) -> Arc<Lease<K>> {
        let key = (namespace.to_owned(), name.to_owned());
        let mut held = self.held.lock();
        if let Some(lease) = held.get(&key).and_then(Weak::upgrade) {
            return lease;
        }
        held.retain(|_, lease| lease.strong_count() > 0);
        let end = CancellationToken::new();
        let stop = self.tasks.token();
        let group = Tasks::new(format!("watch {} {namespace}/{name}", K::plural(&())), end.clone());
        let api = Api::<K>::namespaced(self.client.clone(), namespace);
        let reader =
            start(&group, Arc::clone(&self.clock), api, Filter::fields(format!("metadata.name={name}")));
        let (mut seen, changes, ended) = (reader.subscribe(), self.changes.clone(), end.clone());
        group.spawn("tell", async move {
            loop {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => { ended.cancel(); return; }
                    () = ended.cancelled() => return,
                    more = seen.next() => if more.is_none() { return },
                }
                changes.send_modify(|n| *n += 1);
            }
        });
        let lease =
            Arc::new(Lease { namespace: key.0.clone(), name: key.1.clone(), reader, _end: end.drop_guard() });
        held.insert(key, Arc::downgrade(&lease));
        lease
    }
}

impl<K: Informed + kube::Resource<DynamicType = ()>> Lease<K> {
    /// The object as far as it is known.
    pub(crate) fn peek(&self) -> Option<Arc<K>> {
        self.reader.get_named(&self.namespace, &self.name)
    }

    /// The object, once it has been looked for; `None`: there is none.
    pub(crate) async fn get(&self) -> Result<Option<Arc<K>>, SyncError> {
        match tokio::time::timeout(SYNC_DEADLINE, self.reader.synced()).await {
            Ok(()) => Ok(self.reader.get_named(&self.namespace, &self.name)),
            Err(_elapsed) => Err(SyncError { kind: K::kind(&()).to_lowercase() }),
        }
    }
}

/// Both kinds.
pub(crate) struct ObjectSources {
    pub config_maps: Leases<ConfigMap>,
    pub secrets: Leases<Secret>,
    changes: watch::Sender<u64>,
}

impl ObjectSources {
    /// No object is watched yet.
    pub(crate) fn new(client: &kube::Client, tasks: &Tasks, clock: &Arc<dyn Clock>) -> Self {
        let changes = watch::Sender::new(0);
        Self {
            config_maps: Leases::new(client.clone(), tasks.clone(), Arc::clone(clock), changes.clone()),
            secrets: Leases::new(client.clone(), tasks.clone(), Arc::clone(clock), changes.clone()),
            changes,
        }
    }

    /// Wakes when any leased object may have changed.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}
