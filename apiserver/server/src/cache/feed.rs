//! Keeps all resource caches current: loads them from one range of the store, then follows one watch.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_store::{
    EventKind, KeyValue, RangeError, RangeRequest, Revision, Store, WatchBatch, WatchError, WatchRequest,
};
use prometheus::IntCounterVec;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::resource::Change;
use super::{Cached, Progress, ResourceCache, RingBounds};
use crate::registry::{ROOT, object_name};

/// Why the feed ended; the server cannot go on without it.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The first range, or one after a compaction, failed.
    #[error("loading stored objects")]
    Load(#[source] RangeError),
    /// The watch failed.
    #[error("following the store")]
    Follow(#[source] WatchError),
}

/// The caches by storage prefix, and what fills them.
pub struct Feed {
    store: Store,
    caches: HashMap<&'static str, Arc<ResourceCache>>,
    progress: Progress,
    undecodable: IntCounterVec,
}

impl Feed {
    /// Empty caches for every stored kind of `kinds`. `undecodable` counts objects that cannot be shown, by resource.
    pub fn new(
        store: Store,
        kinds: &[&'static Kind],
        bounds: RingBounds,
        undecodable: IntCounterVec,
    ) -> Self {
        let progress = Progress::default();
        let caches = kinds
            .iter()
            .filter_map(|kind| Some((kind.storage.as_ref()?.prefix, kind.stored_kind())))
            .map(|(prefix, kind)| (prefix, Arc::new(ResourceCache::new(kind, bounds, progress.clone()))))
            .collect();
        Self { store, caches, progress, undecodable }
    }

    /// The caches, by storage prefix.
    pub fn caches(&self) -> &HashMap<&'static str, Arc<ResourceCache>> {
        &self.caches
    }

    /// How far the caches are.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Loads everything, then follows the store until `stop`.
    ///
    /// # Errors
    /// [`FeedError`] when the store gives up.
    pub async fn run(self, stop: CancellationToken) -> Result<(), FeedError> {
        loop {
            let revision = self.load().await?;
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                end = self.follow(revision) => match end {
                    WatchError::Compacted { floor } => warn!(%floor, "the cache fell behind compaction and loads anew"),
                    WatchError::Closed if stop.is_cancelled() => return Ok(()),
                    other => return Err(FeedError::Follow(other)),
                },
            }
        }
    }

    async fn load(&self) -> Result<Revision, FeedError> {
        let mut loaded: HashMap<&'static str, Vec<Cached>> = HashMap::new();
        let mut revision = Revision(0);
        let mut pages = std::pin::pin!(
            self.store.range_stream(RangeRequest::prefix(Bytes::from_static(ROOT.as_bytes())))
        );
        while let Some(page) = pages.next().await {
            let page = page.map_err(FeedError::Load)?;
            // All pages are read at the revision of the first; later ones may report a newer current revision.
            if revision == Revision(0) {
                revision = page.revision;
            }
            for kv in &page.kvs {
                if let Some((prefix, cached)) = self.take(kv) {
                    loaded.entry(prefix).or_default().push(cached);
                }
            }
        }
        if revision == Revision(0) {
            revision = self.store.revision();
        }
        let count: usize = loaded.values().map(Vec::len).sum();
        for (prefix, cache) in &self.caches {
            cache.load(loaded.remove(prefix).unwrap_or_default().into_iter(), revision);
        }
        self.progress.advance(revision);
        info!(%revision, objects = count, "cache loaded");
        Ok(revision)
    }

    async fn follow(&self, loaded: Revision) -> WatchError {
        // Everything, not only our root: then every revision shows up here and consistent reads never wait for more.
        let request =
            WatchRequest { progress: true, ..WatchRequest::prefix(Bytes::new()).starting_at(loaded.next()) };
        let mut watch = self.store.watch(request).await;
        loop {
            match watch.next().await {
                Ok(batch) => self.apply(&batch),
                Err(end) => return end,
            }
        }
    }

    fn apply(&self, batch: &WatchBatch) {
        let mut changes: Vec<(&Arc<ResourceCache>, Vec<Change>)> = Vec::new();
        for event in &batch.events {
            let Some((cache, change)) = self.change(event.kind, &event.kv) else { continue };
            match changes.iter_mut().find(|(c, _)| Arc::ptr_eq(c, cache)) {
                Some((_, list)) => list.push(change),
                None => changes.push((cache, vec![change])),
            }
        }
        for (cache, list) in changes {
            cache.apply(list, batch.revision);
        }
        self.progress.advance(batch.revision);
    }

    fn change(&self, kind: EventKind, kv: &KeyValue) -> Option<(&Arc<ResourceCache>, Change)> {
        let (prefix, rest) = self.split_key(&kv.key)?;
        let cache = self.caches.get(prefix)?;
        match kind {
            EventKind::Put => self.take(kv).map(|(_, cached)| (cache, Change::Put(cached))),
            EventKind::Delete => {
                let (namespace, name) = object_name(cache.kind, rest)?;
                Some((cache, Change::Delete { namespace: namespace.to_owned(), name: name.to_owned() }))
            }
        }
    }

    fn take(&self, kv: &KeyValue) -> Option<(&'static str, Cached)> {
        let (prefix, _rest) = self.split_key(&kv.key)?;
        let cache = self.caches.get(prefix)?;
        match Cached::from_store(cache.kind, &kv.value, kv.mod_revision, &kv.key) {
            Ok(cached) => Some((prefix, cached)),
            Err(error) => {
                self.undecodable.with_label_values(&[cache.kind.plural]).inc();
                error!(%error, "a stored object cannot be served");
                None
            }
        }
    }

    /// The storage prefix of a key, and what follows it. Prefixes have one segment or two (`services/specs`).
    fn split_key<'a>(&self, key: &'a [u8]) -> Option<(&'static str, &'a str)> {
        let rest = std::str::from_utf8(key).ok()?.strip_prefix(ROOT)?;
        let first = rest.find('/')?;
        let second = rest.get(first + 1..)?.find('/').map(|at| first + 1 + at);
        [second, Some(first)].into_iter().flatten().find_map(|end| {
            let (prefix, _) = self.caches.get_key_value(rest.get(..end)?)?;
            Some((*prefix, rest.get(end + 1..)?))
        })
    }
}
