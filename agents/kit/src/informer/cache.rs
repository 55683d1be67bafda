//! The state behind a [`super::Reader`]: objects by key and secondary indexes. One writer, the informer's task.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use imbl::OrdMap;
use parking_lot::RwLock;
use tokio::sync::{broadcast, watch};

use super::change::Change;
use super::reader::Progress;
use crate::ObjectKey;

/// Changes a subscriber may lag behind before it has to look at the whole cache.
const CHANGES_MAX: usize = 1024;

pub(super) type IndexFn<K> = fn(&K) -> Vec<String>;

pub(super) struct Index<K> {
    pub(super) name: &'static str,
    pub(super) values_of: IndexFn<K>,
    pub(super) keys: HashMap<String, BTreeSet<ObjectKey>>,
}

impl<K> Index<K> {
    fn remove(&mut self, key: &ObjectKey, object: &K) {
        for value in (self.values_of)(object) {
            if let Some(keys) = self.keys.get_mut(&value) {
                keys.remove(key);
                if keys.is_empty() {
                    self.keys.remove(&value);
                }
            }
        }
    }

    fn insert(&mut self, key: &ObjectKey, object: &K) {
        for value in (self.values_of)(object) {
            self.keys.entry(value).or_default().insert(key.clone());
        }
    }
}

pub(super) struct State<K> {
    pub(super) objects: OrdMap<ObjectKey, Arc<K>>,
    pub(super) indexes: Vec<Index<K>>,
}

pub(super) struct Cache<K> {
    pub(super) state: RwLock<State<K>>,
    pub(super) changes: broadcast::Sender<Change<K>>,
    pub(super) progress: watch::Sender<Progress>,
}

impl<K: kube::Resource> Cache<K> {
    pub(super) fn new() -> Self {
        Self {
            state: RwLock::new(State { objects: OrdMap::new(), indexes: Vec::new() }),
            changes: broadcast::Sender::new(CHANGES_MAX),
            progress: watch::Sender::new(Progress::default()),
        }
    }

    /// Makes the cache hold exactly `objects`, as listed at `revision`.
    pub(super) fn replace(&self, objects: Vec<Arc<K>>, revision: u64) {
        let listed: HashMap<ObjectKey, Arc<K>> =
            objects.into_iter().map(|object| (ObjectKey::of(object.as_ref()), object)).collect();
        let gone: Vec<ObjectKey> = {
            let state = self.state.read();
            state.objects.keys().filter(|key| !listed.contains_key(*key)).cloned().collect()
        };
        for key in gone {
            self.store(key, None);
        }
        for (key, object) in listed {
            self.store(key, Some(object));
        }
        self.advance(revision, true);
    }

    /// Takes over one watch event: `new` is the object, absent when it was deleted.
    pub(super) fn apply(&self, key: ObjectKey, new: Option<Arc<K>>, revision: u64) {
        self.store(key, new);
        self.advance(revision, false);
    }

    /// Notes that everything up to `revision` has been seen, as a bookmark says.
    pub(super) fn bookmark(&self, revision: u64) {
        self.progress.send_if_modified(|progress| {
            let forward = revision > progress.revision;
            progress.revision = progress.revision.max(revision);
            forward
        });
    }

    fn advance(&self, revision: u64, synced: bool) {
        self.progress.send_modify(|progress| {
            progress.revision = progress.revision.max(revision);
            progress.generation += 1;
            progress.synced |= synced;
        });
    }

    fn store(&self, key: ObjectKey, new: Option<Arc<K>>) {
        let old = {
            let mut state = self.state.write();
            let State { objects, indexes } = &mut *state;
            let old = objects.get(&key).cloned();
            if let (Some(old), Some(new)) = (&old, &new)
                && old.meta().resource_version == new.meta().resource_version
                && old.meta().uid == new.meta().uid
            {
                return;
            }
            for index in indexes {
                if let Some(old) = &old {
                    index.remove(&key, old);
                }
                if let Some(new) = &new {
                    index.insert(&key, new);
                }
            }
            match &new {
                Some(new) => drop(objects.insert(key.clone(), Arc::clone(new))),
                None => drop(objects.remove(&key)),
            }
            old
        };
        if old.is_some() || new.is_some() {
            // An error only says that nobody is subscribed.
            drop(self.changes.send(Change::Object { key, old, new }));
        }
    }
}
