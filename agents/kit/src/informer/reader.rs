//! The reading side of an informer.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use imbl::OrdMap;
use tokio::sync::watch;

use super::cache::{Cache, Index, IndexFn};
use super::change::Subscription;
use crate::ObjectKey;

/// How far a cache has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Whether the first list is in the cache.
    pub synced: bool,
    /// The latest resourceVersion the cache has taken in; 0 before the first list.
    pub revision: u64,
    /// Grows with every change of the cache's content.
    pub generation: u64,
}

/// A cheap handle to a shared cache of one kind.
pub struct Reader<K> {
    cache: Arc<Cache<K>>,
}

impl<K> Clone for Reader<K> {
    fn clone(&self) -> Self {
        Self { cache: Arc::clone(&self.cache) }
    }
}

impl<K> fmt::Debug for Reader<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("progress", &*self.cache.progress.borrow()).finish_non_exhaustive()
    }
}

impl<K: kube::Resource> Reader<K> {
    pub(super) fn new(cache: Arc<Cache<K>>) -> Self {
        Self { cache }
    }

    /// A reader over fixed objects, for tests of what reads caches. It counts as synced.
    pub fn fixed(objects: impl IntoIterator<Item = K>) -> Self {
        let cache = Cache::new();
        cache.replace(objects.into_iter().map(Arc::new).collect(), 1);
        Self { cache: Arc::new(cache) }
    }

    /// The cached object of this key.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.cache.state.read().objects.get(key).cloned()
    }

    /// The cached object of this namespace and name.
    pub fn get_named(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.get(&ObjectKey::new(namespace, name))
    }

    /// The whole cache as of now; later changes do not show in it.
    pub fn snapshot(&self) -> Snapshot<K> {
        Snapshot { objects: self.cache.state.read().objects.clone() }
    }

    /// All cached objects in key order.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.snapshot().objects.values().cloned().collect()
    }

    /// The cached objects of one namespace in name order.
    pub fn list_in(&self, namespace: &str) -> Vec<Arc<K>> {
        self.snapshot().in_namespace(namespace).cloned().collect()
    }

    /// Adds a secondary index unless one of this name exists. `values_of` names the values one object is found under.
    pub fn add_index(&self, name: &'static str, values_of: IndexFn<K>) {
        let mut state = self.cache.state.write();
        if state.indexes.iter().any(|index| index.name == name) {
            return;
        }
        let mut keys: HashMap<String, std::collections::BTreeSet<ObjectKey>> = HashMap::new();
        for (key, object) in &state.objects {
            for value in values_of(object) {
                keys.entry(value).or_default().insert(key.clone());
            }
        }
        state.indexes.push(Index { name, values_of, keys });
    }

    /// The objects that the index `name` holds under `value`, in key order; empty for an index that was never added.
    pub fn by_index(&self, name: &str, value: &str) -> Vec<Arc<K>> {
        let state = self.cache.state.read();
        let Some(keys) =
            state.indexes.iter().find(|index| index.name == name).and_then(|index| index.keys.get(value))
        else {
            return Vec::new();
        };
        keys.iter().filter_map(|key| state.objects.get(key).cloned()).collect()
    }

    /// A bounded stream of changes, which begins with a request to look at the whole cache.
    pub fn subscribe(&self) -> Subscription<K> {
        Subscription::new(self.cache.changes.subscribe())
    }

    /// The latest [`Progress`], as a channel that wakes on every change and bookmark.
    pub fn changed(&self) -> watch::Receiver<Progress> {
        self.cache.progress.subscribe()
    }

    /// How far the cache has come.
    pub fn progress(&self) -> Progress {
        *self.cache.progress.borrow()
    }

    /// Waits for the first list. Returns early when the informer ends.
    pub async fn synced(&self) {
        let mut progress = self.changed();
        // The sender lives as long as `self`, so an error cannot happen.
        drop(progress.wait_for(|progress| progress.synced).await);
    }

    /// Waits until the cache has taken in `revision`.
    pub async fn observed(&self, revision: u64) {
        let mut progress = self.changed();
        drop(progress.wait_for(|progress| progress.revision >= revision).await);
    }
}

/// A cache as of one moment.
pub struct Snapshot<K> {
    objects: OrdMap<ObjectKey, Arc<K>>,
}

impl<K> Clone for Snapshot<K> {
    fn clone(&self) -> Self {
        Self { objects: self.objects.clone() }
    }
}

impl<K> fmt::Debug for Snapshot<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("len", &self.objects.len()).finish()
    }
}

impl<K> Snapshot<K> {
    /// The object of this key.
    pub fn get(&self, key: &ObjectKey) -> Option<&Arc<K>> {
        self.objects.get(key)
    }

    /// All objects in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectKey, &Arc<K>)> {
        self.objects.iter()
    }

    /// All objects in key order, without their keys.
    pub fn values(&self) -> impl Iterator<Item = &Arc<K>> {
        self.objects.values()
    }

    /// The objects of one namespace in name order.
    pub fn in_namespace<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Arc<K>> {
        self.objects
            .range(ObjectKey::new(namespace, "")..)
            .take_while(move |(key, _)| key.namespace == namespace)
            .map(|(_, object)| object)
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there is no object.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }
}
