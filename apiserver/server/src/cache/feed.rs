//! Keeps all resource caches current: loads them from one range of the store, then follows one watch.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_store::{EventKind, KeyValue, RangeRequest, Revision, WatchBatch, WatchError};
use prometheus::IntCounterVec;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::resource::{Change, Loaded};
use super::{CacheMap, Cached, Caches, Handover, Progress, ResourceCache, RingBounds};
use crate::backing::{Backing, BackingError};
use crate::encryption::Vault;
use crate::registry::{ROOT, object_name};

/// Changes of the set of caches that wait for the feed.
const ORDERS_MAX: usize = 16;
/// The pause before a store that does not answer is asked again.
const RETRY: std::time::Duration = std::time::Duration::from_secs(1);

/// Why the feed ended; the server cannot go on without it.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The first range, or one after a compaction, failed.
    #[error("loading stored objects")]
    Load(#[source] BackingError),
    /// The watch failed.
    #[error("following the store")]
    Follow(#[source] BackingError),
}

/// The caches by storage prefix, and what fills them.
pub struct Feed {
    store: Backing,
    caches: Caches,
    bounds: RingBounds,
    progress: Progress,
    undecodable: IntCounterVec,
    orders: mpsc::Receiver<Order>,
    door: FeedDoor,
    vault: Vault,
    handover: Arc<Handover>,
    /// What this server's own copy of the store has will do, whether the others answer or not.
    own_copy: bool,
    loaded: CancellationToken,
}

/// A change of the set of caches.
enum Order {
    /// A cache for a kind that is stored in its own form. An equal kind's cache is brought to the present schema in
    /// place; one of another kind is replaced, and its watches end.
    Open { kind: &'static Kind, done: oneshot::Sender<()> },
    /// No cache any more; its watches end.
    Close { prefix: &'static str, done: oneshot::Sender<()> },
}

/// The way to have caches opened and closed while the feed runs. Clones share it.
#[derive(Clone)]
pub struct FeedDoor {
    orders: mpsc::Sender<Order>,
}

/// The feed has ended, and the server with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cache is closed")]
pub struct FeedEnded;

impl FeedDoor {
    /// Opens the cache of a kind, or brings it to the kind's present schema. When this returns it holds everything.
    ///
    /// # Errors
    /// [`FeedEnded`].
    pub async fn open(&self, kind: &'static Kind) -> Result<(), FeedEnded> {
        self.send(|done| Order::Open { kind, done }).await
    }

    /// Closes the cache of a storage prefix.
    ///
    /// # Errors
    /// [`FeedEnded`].
    pub async fn close(&self, prefix: &'static str) -> Result<(), FeedEnded> {
        self.send(|done| Order::Close { prefix, done }).await
    }

    async fn send(&self, order: impl FnOnce(oneshot::Sender<()>) -> Order) -> Result<(), FeedEnded> {
        let (done, answer) = oneshot::channel();
        self.orders.send(order(done)).await.map_err(|_closed| FeedEnded)?;
        answer.await.map_err(|_closed| FeedEnded)
    }
}

impl Feed {
    /// Empty caches for every stored kind of `kinds`. `undecodable` counts objects that cannot be shown, by resource.
    pub fn new(
        store: Backing,
        kinds: &[&'static Kind],
        bounds: RingBounds,
        undecodable: IntCounterVec,
        vault: Vault,
    ) -> Self {
        let progress = Progress::default();
        let (sender, orders) = mpsc::channel(ORDERS_MAX);
        let caches: CacheMap = kinds
            .iter()
            .filter_map(|kind| Some((kind.storage.as_ref()?.prefix, kind.stored_kind())))
            .map(|(prefix, kind)| (prefix, Arc::new(ResourceCache::new(kind, bounds, progress.clone()))))
            .collect();
        let (caches, door) = (Caches::new(caches), FeedDoor { orders: sender });
        Self {
            store,
            caches,
            bounds,
            progress,
            undecodable,
            orders,
            door,
            vault,
            handover: Arc::default(),
            own_copy: false,
            loaded: CancellationToken::new(),
        }
    }

    /// The same, which loads what this server's own copy of the store has: it needs no quorum, and may be old.
    pub fn of_own_copy(self) -> Self {
        Self { own_copy: true, ..self }
    }

    /// The caches, by storage prefix.
    pub fn caches(&self) -> &Caches {
        &self.caches
    }

    /// The way to open and close caches.
    pub fn door(&self) -> &FeedDoor {
        &self.door
    }

    /// What opens stored values.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// Where writers of this server hand over what they have encoded.
    pub(crate) fn handover(&self) -> &Arc<Handover> {
        &self.handover
    }

    /// How far the caches are.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Cancelled once everything is loaded for the first time.
    pub fn loaded(&self) -> CancellationToken {
        self.loaded.clone()
    }

    /// Loads everything, then follows the store until `stop`.
    ///
    /// # Errors
    /// [`FeedError`] when the store gives up.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), FeedError> {
        loop {
            let end = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                end = self.load_and_follow() => end,
            };
            match &end {
                FeedError::Load(error) | FeedError::Follow(error) if error.is_compacted() => {
                    warn!(%error, "the cache fell behind compaction and loads anew");
                }
                FeedError::Load(error) if error.is_passing() => {
                    warn!(%error, "stored objects cannot be loaded; it is tried again");
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => return Ok(()),
                        () = tokio::time::sleep(RETRY) => {}
                    }
                }
                FeedError::Follow(BackingError::Watch(WatchError::Closed)) if stop.is_cancelled() => {
                    return Ok(());
                }
                _ => return Err(end),
            }
        }
    }

    /// Ends only when following does.
    async fn load_and_follow(&mut self) -> FeedError {
        match self.load().await {
            Ok(revision) => self.follow(revision).await,
            Err(error) => error,
        }
    }

    async fn load(&self) -> Result<Revision, FeedError> {
        // What was written before is read, not heard of.
        self.handover.forget();
        let map = self.caches.map();
        let mut loaded: HashMap<&'static str, Loaded> = HashMap::new();
        let mut revision = Revision(0);
        let range = RangeRequest::prefix(Bytes::from_static(ROOT.as_bytes()));
        let range = RangeRequest { serializable: self.own_copy, ..range };
        let mut pages = std::pin::pin!(self.store.range_stream(range));
        while let Some(page) = pages.next().await {
            let page = page.map_err(FeedError::Load)?;
            // All pages are read at the revision of the first; later ones may report a newer current revision.
            if revision == Revision(0) {
                revision = page.revision;
            }
            self.vault.unlock(page.kvs.iter().map(|kv| &kv.value)).await;
            for kv in &page.kvs {
                let Some((prefix, rest)) = split_key(&map, &kv.key) else { continue };
                if let Some(cache) = map.get(prefix) {
                    loaded.entry(prefix).or_default().take(rest, self.decode(cache.kind, kv));
                }
            }
        }
        if revision == Revision(0) {
            revision = self.store.revision().await.map_err(FeedError::Load)?;
        }
        let count: usize = loaded.values().map(|loaded| loaded.objects.len()).sum();
        for (prefix, cache) in map.iter() {
            cache.load(loaded.remove(prefix).unwrap_or_default(), revision);
        }
        self.progress.advance(revision);
        self.loaded.cancel();
        info!(%revision, objects = count, "cache loaded");
        Ok(revision)
    }

    async fn follow(&mut self, loaded: Revision) -> FeedError {
        let mut changes = self.store.follow(loaded.next()).await;
        loop {
            // The feed holds a sender itself, so orders never end; both sides lose nothing when they are dropped early.
            tokio::select! {
                biased;
                Some(order) = self.orders.recv() => {
                    if let Err(error) = self.carry_out(order).await {
                        return FeedError::Load(error);
                    }
                }
                batch = changes.next() => match batch {
                    Ok(batch) => {
                        self.vault.unlock(batch.events.iter().map(|event| &event.kv.value)).await;
                        self.apply(&batch);
                    }
                    Err(end) => return FeedError::Follow(end),
                },
            }
        }
    }

    /// Runs between two batches, so that a new cache is loaded at exactly the revision where the batches go on.
    async fn carry_out(&self, order: Order) -> Result<(), BackingError> {
        let done = match order {
            Order::Open { kind, done } => {
                self.open(kind).await?;
                done
            }
            Order::Close { prefix, done } => {
                if let Some(cache) = self.caches.get(prefix) {
                    self.caches.set(prefix, None);
                    cache.close(self.progress.current());
                }
                done
            }
        };
        // Where nobody waits any more, the change itself was still wanted.
        let _nobody_waits = done.send(());
        Ok(())
    }

    async fn open(&self, kind: &'static Kind) -> Result<(), BackingError> {
        let Some(prefix) = kind.storage.as_ref().map(|storage| storage.prefix) else { return Ok(()) };
        let revision = self.progress.current();
        let objects = loop {
            match self.read(kind, prefix, revision).await {
                // Nothing else arrives meanwhile either.
                Err(error) if error.is_passing() => tokio::time::sleep(RETRY).await,
                read => break read?,
            }
        };
        match self.caches.get(prefix) {
            Some(cache) if std::ptr::eq(cache.kind, kind) => cache.renew(objects),
            older => {
                let cache = ResourceCache::new(kind, self.bounds, self.progress.clone());
                cache.load(objects, revision);
                self.caches.set(prefix, Some(&Arc::new(cache)));
                if let Some(older) = older {
                    older.close(revision);
                }
            }
        }
        Ok(())
    }

    /// Every object below a prefix at `revision`.
    async fn read(
        &self,
        kind: &'static Kind,
        prefix: &str,
        revision: Revision,
    ) -> Result<Loaded, BackingError> {
        let range = RangeRequest::prefix(Bytes::from(format!("{ROOT}{prefix}/")));
        let revision = Some(revision).filter(|revision| *revision > Revision(0));
        let range = RangeRequest { revision, serializable: self.own_copy, ..range };
        let mut objects = Loaded::default();
        let mut pages = std::pin::pin!(self.store.range_stream(range));
        while let Some(page) = pages.next().await {
            let page = page?;
            self.vault.unlock(page.kvs.iter().map(|kv| &kv.value)).await;
            for kv in &page.kvs {
                let rest = kv.key.get(ROOT.len() + prefix.len() + 1..).unwrap_or_default();
                objects.take(&String::from_utf8_lossy(rest), self.decode(kind, kv));
            }
        }
        Ok(objects)
    }

    fn apply(&self, batch: &WatchBatch) {
        let map = self.caches.load();
        let mut changes: Vec<(&Arc<ResourceCache>, Vec<Change>)> = Vec::new();
        for event in &batch.events {
            let Some((cache, change)) = self.change(&map, event.kind, &event.kv) else { continue };
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

    fn change<'m>(
        &self,
        map: &'m CacheMap,
        kind: EventKind,
        kv: &KeyValue,
    ) -> Option<(&'m Arc<ResourceCache>, Change)> {
        let (prefix, rest) = split_key(map, &kv.key)?;
        let cache = map.get(prefix)?;
        match kind {
            EventKind::Put => match self.taken_or_decoded(cache.kind, kv) {
                Ok(cached) => Some((cache, Change::Put(cached))),
                Err(why) => {
                    let (namespace, name) = object_name(cache.kind, rest)?;
                    Some((
                        cache,
                        Change::Spoil { namespace: namespace.to_owned(), name: name.to_owned(), why },
                    ))
                }
            },
            EventKind::Delete => {
                let (namespace, name) = object_name(cache.kind, rest)?;
                Some((cache, Change::Delete { namespace: namespace.to_owned(), name: name.to_owned() }))
            }
        }
    }

    /// The object of a write, which its writer has most often made already, or why it cannot be served.
    fn taken_or_decoded(&self, kind: &'static Kind, kv: &KeyValue) -> Result<Arc<Cached>, String> {
        match self.handover.take(kind, kv) {
            Some(cached) => Ok(cached),
            None => self.decode(kind, kv).map(Arc::new),
        }
    }

    /// The object, or why it cannot be served.
    fn decode(&self, kind: &'static Kind, kv: &KeyValue) -> Result<Cached, String> {
        match Cached::unsealed(&self.vault, kind, kv) {
            Ok(cached) => Ok(cached.sharing(self.handover.commons())),
            Err(why) => {
                let why = why.to_string();
                self.undecodable.with_label_values(&[kind.plural]).inc();
                error!(error = %why, "a stored object cannot be served");
                Err(why)
            }
        }
    }
}

/// The storage prefix of a key, and what follows it. Prefixes have one segment or two (`services/specs`).
fn split_key<'a>(map: &CacheMap, key: &'a [u8]) -> Option<(&'static str, &'a str)> {
    let rest = std::str::from_utf8(key).ok()?.strip_prefix(ROOT)?;
    let first = rest.find('/')?;
    let second = rest.get(first + 1..)?.find('/').map(|at| first + 1 + at);
    [second, Some(first)].into_iter().flatten().find_map(|end| {
        let (prefix, _) = map.get_key_value(rest.get(..end)?)?;
        Some((*prefix, rest.get(end + 1..)?))
    })
}
