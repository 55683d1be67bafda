//! The caches by storage prefix. They come and go with the kinds that are served, so readers take the map as it is now.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use super::ResourceCache;

/// Caches by storage prefix at one moment.
pub type CacheMap = HashMap<&'static str, Arc<ResourceCache>>;

/// The present map. Clones share it; only the feed changes it.
#[derive(Clone)]
pub struct Caches {
    map: Arc<ArcSwap<CacheMap>>,
}

impl Caches {
    pub(super) fn new(map: CacheMap) -> Self {
        Self { map: Arc::new(ArcSwap::from_pointee(map)) }
    }

    /// The cache of one prefix.
    pub fn get(&self, prefix: &str) -> Option<Arc<ResourceCache>> {
        self.map.load().get(prefix).map(Arc::clone)
    }

    /// The map as it is now.
    pub fn load(&self) -> Guard<Arc<CacheMap>> {
        self.map.load()
    }

    /// The map as it is now, to keep for longer.
    pub(super) fn map(&self) -> Arc<CacheMap> {
        self.map.load_full()
    }

    /// Adds, replaces or (with `None`) removes one cache.
    pub(super) fn set(&self, prefix: &'static str, cache: Option<&Arc<ResourceCache>>) {
        self.map.rcu(|map| {
            let mut map = CacheMap::clone(map);
            match cache {
                Some(cache) => map.insert(prefix, Arc::clone(cache)),
                None => map.remove(prefix),
            };
            map
        });
    }
}
