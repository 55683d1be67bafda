//! [`Registry`]: reads from the caches, and the way to the writes.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mainstay_apiserver_machinery::kind::Kind;
use mainstay_base::lifecycle::Clock;
use mainstay_proto_api::Status;
use mainstay_store::Revision;
use parking_lot::Mutex;

use super::converted::Converted;
use super::event_leases::EventLeases;
use super::forms::Convert;
use super::freshness::Freshness;
use super::served::ServedKinds;
use crate::aggregation::Routes;
use crate::backing::Backing;
use crate::cache::{Cached, Caches, Feed, FeedDoor, Handover, Progress, ResourceCache, Snapshot};
use crate::encryption::Vault;
use crate::failure::{Failure, to_status};

/// How long a read waits for a resource version from the future, as upstream does.
const FUTURE_WAIT: Duration = Duration::from_secs(3);

/// The door to stored objects. Clones share it.
#[derive(Clone)]
pub struct Registry {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) store: Backing,
    pub(super) object_bytes_max: usize,
    pub(super) event_leases: EventLeases,
    pub(super) freshness: Freshness,
    pub(super) vault: Vault,
    pub(super) handover: Arc<Handover>,
    /// Who converts custom resources by webhook, and what it converted lately.
    pub(super) converter: OnceLock<Arc<dyn Convert>>,
    pub(super) converted: Mutex<Converted>,
    caches: Caches,
    feed: FeedDoor,
    served: ServedKinds,
    aggregated: Routes,
    progress: Progress,
}

impl Registry {
    /// A registry over the caches that `feed` fills, of `kinds` and those that come later. Nothing is read before they have
    /// everything of now; `stale_reads` is [`Registry::stale_reads`].
    pub fn new(
        store: Backing,
        feed: &Feed,
        kinds: &'static [&'static Kind],
        (object_bytes_max, event_ttl): (usize, Duration),
        (stale_reads, clock): (bool, Arc<dyn Clock>),
    ) -> Self {
        let inner = Inner {
            freshness: Freshness::new(stale_reads, clock),
            event_leases: EventLeases::new(store.clone(), event_ttl),
            converter: OnceLock::new(),
            converted: Mutex::default(),
            store,
            vault: feed.vault().clone(),
            handover: Arc::clone(feed.handover()),
            object_bytes_max,
            caches: feed.caches().clone(),
            feed: feed.door().clone(),
            served: ServedKinds::new(kinds),
            aggregated: Routes::default(),
            progress: feed.progress().clone(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The store below. Only for what is not an object: health, compaction.
    pub fn store(&self) -> &Backing {
        &self.inner.store
    }

    /// The cache of a kind's resource.
    ///
    /// # Errors
    /// 405 for kinds that are not stored; 404 for a custom kind that is gone.
    pub fn cache(&self, kind: &'static Kind) -> Result<Arc<ResourceCache>, Status> {
        let found = kind.storage.as_ref().and_then(|storage| self.inner.caches.get(storage.prefix));
        found.ok_or_else(|| {
            if kind.is_custom {
                // Its definition went away after the request had found the kind.
                Status::path_not_found()
            } else {
                Status::method_not_allowed(kind.group, kind.plural, "storage")
            }
        })
    }

    /// The kinds that are served now.
    pub fn served(&self) -> &ServedKinds {
        &self.inner.served
    }

    /// The groups and versions that other servers answer now.
    pub fn aggregated(&self) -> &Routes {
        &self.inner.aggregated
    }

    /// The way to open and close caches of kinds that come and go.
    pub fn feed(&self) -> &FeedDoor {
        &self.inner.feed
    }

    /// One object as the cache has it now.
    pub fn get(&self, kind: &'static Kind, namespace: &str, name: &str) -> Option<Arc<Cached>> {
        self.cache(kind).ok()?.get(namespace, name)
    }

    /// All objects of a kind as the cache has them now.
    pub fn snapshot(&self, kind: &'static Kind) -> Option<Snapshot> {
        Some(self.cache(kind).ok()?.snapshot())
    }

    /// One object, no older than the moment of the call.
    ///
    /// # Errors
    /// 405 for kinds that are not stored; 500 for one that is stored and cannot be read; 503 without a quorum.
    pub async fn get_fresh(
        &self,
        kind: &'static Kind,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<Cached>>, Status> {
        self.fresh().await?;
        self.get_readable(kind, namespace, name)
    }

    /// One object as the cache has it now.
    ///
    /// # Errors
    /// 405 for kinds that are not stored; 500 for one that is stored and cannot be read.
    pub fn get_readable(
        &self,
        kind: &'static Kind,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<Cached>>, Status> {
        let cache = self.cache(kind)?;
        let found = cache.get(namespace, name);
        match found.is_none().then(|| cache.spoilt(namespace, name)).flatten() {
            Some(why) => Err(Status::internal(why)),
            None => Ok(found),
        }
    }

    /// Refuses to show a collection, or one object of it, of which something is stored that cannot be read.
    ///
    /// # Errors
    /// 500 with the reason, as upstream.
    pub fn check_readable(&self, kind: &'static Kind, namespace: &str, name: &str) -> Result<(), Status> {
        let cache = self.cache(kind)?;
        let why = if name.is_empty() { cache.first_spoilt(namespace) } else { cache.spoilt(namespace, name) };
        why.map_or(Ok(()), |why| Err(Status::internal(why)))
    }

    /// All objects of a kind, no older than the moment of the call.
    ///
    /// # Errors
    /// 405 for kinds that are not stored; 503 without a quorum.
    pub async fn snapshot_fresh(&self, kind: &'static Kind) -> Result<Snapshot, Status> {
        self.fresh().await?;
        Ok(self.cache(kind)?.snapshot())
    }

    /// Waits until the cache has everything that any member of the store had acknowledged at the moment of the call.
    ///
    /// # Errors
    /// 503 or 504 when the store does not tell, as without a quorum, or a remote one's changes do not arrive within three seconds.
    pub async fn fresh(&self) -> Result<(), Status> {
        let asked = self.inner.freshness.asked();
        let reached = self.inner.store.reach(&self.inner.progress, Some(FUTURE_WAIT)).await;
        reached.map_err(|error| to_status(None, &error.into()))?;
        self.inner.freshness.confirm(asked);
        Ok(())
    }

    /// As [`Registry::fresh`], up to a heartbeat of the store's members later, and at no cost to their leader.
    pub(super) async fn fresh_by_heartbeat(&self) -> Result<(), Status> {
        let asked = self.inner.freshness.asked();
        let reached = self.inner.store.reach_by_heartbeat(&self.inner.progress, Some(FUTURE_WAIT)).await;
        reached.map_err(|error| to_status(None, &error.into()))?;
        self.inner.freshness.confirm(asked);
        Ok(())
    }

    /// Waits until the cache has reached `revision`.
    ///
    /// # Errors
    /// 504 when the store does not get there within three seconds.
    pub async fn fresh_to(&self, revision: Revision) -> Result<(), Status> {
        match tokio::time::timeout(FUTURE_WAIT, self.inner.progress.reached(revision)).await {
            Ok(()) => Ok(()),
            Err(_elapsed) => {
                let current = self.inner.progress.current();
                Err(Status::too_large_resource_version(
                    revision.0.unsigned_abs(),
                    current.0.unsigned_abs(),
                    1,
                ))
            }
        }
    }

    /// How far the caches are.
    pub fn progress(&self) -> &Progress {
        &self.inner.progress
    }

    /// Changes whenever an object of the kind changed; for indexes that are rebuilt from [`Registry::snapshot`].
    ///
    /// # Errors
    /// 405 for kinds that are not stored.
    pub fn changes(&self, kind: &'static Kind) -> Result<tokio::sync::watch::Receiver<u64>, Status> {
        Ok(self.cache(kind)?.changes())
    }

    pub(super) fn failed(kind: &'static Kind, failure: impl Into<Failure>) -> Status {
        to_status(Some(kind), &failure.into())
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("progress", &self.inner.progress.current()).finish_non_exhaustive()
    }
}
