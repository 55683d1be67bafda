//! Where applying and watching meet.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::interval_index::IntervalIndex;
use super::owed::event_bytes;
use super::ring::{Items, Published, Ring, Slice};
use super::slot::{Due, Group, Slot, Span};
use crate::api::{Config, Revision, WatchRequest};
use crate::engine::Tables;
use crate::platform::{Loop, Platform};
use crate::stop::StopState;
use crate::worker_pool::WorkerPool;

/// So many revisions are matched with the watchers under one lock.
const GROUP_REVISIONS_MAX: usize = 256;
/// So many watchers are told by whoever publishes: that takes less than waking the notifier.
const TOLD_AT_ONCE_MAX: usize = 128;

#[derive(Debug, Default)]
struct Registry {
    index: IntervalIndex<Arc<Group>>,
    watchers: usize,
}

impl Registry {
    /// Notes revisions with the groups that they concern, and returns those, to be told.
    fn note(&self, items: &Items) -> Vec<Arc<Group>> {
        let mut noted: Vec<Arc<Group>> = Vec::new();
        for item in items.iter() {
            let span = Span { first: item.revision, last: item.revision };
            for change in &item.changes {
                let due = Due { span, bytes: event_bytes(&change.kv.key, &change.kv.value) };
                self.index.visit(&change.kv.key, &mut |group| {
                    if group.note(due) {
                        noted.push(Arc::clone(group));
                    }
                });
            }
        }
        noted
    }

    fn tell(&self, items: &Items) {
        for group in self.note(items) {
            group.tell();
        }
    }
}

/// The ring, the watchers, and the loop between them.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(super) ring: Ring,
    pub(super) tables: Arc<Tables>,
    pub(super) pool: WorkerPool,
    pub(super) stop: Arc<StopState>,
    pub(super) progress_interval: Duration,
    registry: Mutex<Registry>,
    /// So many watchers want previous values.
    look_back: AtomicUsize,
    /// Every watcher has been told of what concerns it up to here.
    announced: AtomicI64,
    #[cfg(feature = "etcd")]
    announced_more: Notify,
    ended: AtomicBool,
    /// Tells the notifier that the ring has more, or that it has to end.
    published: Notify,
    watches_max: usize,
}

impl Hub {
    pub(crate) fn new(config: &Config, tables: Arc<Tables>, pool: WorkerPool, stop: Arc<StopState>) -> Self {
        let revision = tables.revision();
        Self {
            ring: Ring::new(revision, config.watch_ring_revisions, config.watch_ring_bytes),
            tables,
            pool,
            stop,
            progress_interval: config.watch_progress_interval,
            registry: Mutex::default(),
            look_back: AtomicUsize::new(0),
            announced: AtomicI64::new(revision.0),
            #[cfg(feature = "etcd")]
            announced_more: Notify::new(),
            ended: AtomicBool::new(false),
            published: Notify::new(),
            watches_max: config.limits.watches_max,
        }
    }

    /// Starts the notifier.
    pub(crate) fn spawn_notifier(self: &Arc<Self>, platform: &Platform) -> std::io::Result<Loop> {
        let hub = Arc::clone(self);
        platform.spawn_loop("store-watch", async move { hub.notify().await })
    }

    /// Makes revisions visible to watchers. They must be readable in the tables by now.
    pub(crate) fn publish(&self, items: Vec<Published>) {
        let Some(last) = items.last().map(|item| item.revision) else { return };
        let registry = self.registry.lock();
        let before = self.ring.newest();
        self.ring.push(items);
        if registry.watchers == 0 {
            // Nobody is to be told: the notifier sleeps on. A watcher that comes later starts behind these.
            return self.set_announced(last);
        }
        // A few are told at once, unless the notifier still has earlier revisions to tell: it sleeps on too.
        if registry.watchers <= TOLD_AT_ONCE_MAX
            && self.announced() == before
            && let Slice::Items(items) = self.ring.slice(before.next(), last, GROUP_REVISIONS_MAX)
            && items.last() == Some(last)
        {
            registry.tell(&items);
            return self.set_announced(last);
        }
        drop(registry);
        // If the notifier is not waiting, this makes its next wait short: it never sleeps through a revision.
        self.published.notify_one();
    }

    /// The tables moved on to a revision at once: watchers read in them what lies between.
    pub(crate) fn skip_to(&self, revision: Revision) {
        self.ring.skip_to(revision);
        self.published.notify_one();
    }

    /// Ends the notifier and wakes every watcher, to see that the store has stopped.
    pub(crate) fn close(&self) {
        self.ended.store(true, Ordering::Release);
        self.published.notify_one();
        self.registry.lock().index.visit_all(&mut |group| group.wake());
    }

    pub(super) fn watches_max(&self) -> usize {
        self.watches_max
    }

    /// Whether somebody watches who wants previous values. What is published without them, such a watcher finds in the tables.
    pub(crate) fn looks_back(&self) -> bool {
        self.look_back.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn watchers(&self) -> usize {
        self.registry.lock().watchers
    }

    /// Everything up to here that concerns a watcher is in its slot.
    pub(crate) fn announced(&self) -> Revision {
        Revision(self.announced.load(Ordering::Acquire))
    }

    fn set_announced(&self, revision: Revision) {
        // Two set it: the notifier, and whoever publishes while nobody watches.
        self.announced.fetch_max(revision.0, Ordering::AcqRel);
        #[cfg(feature = "etcd")]
        self.announced_more.notify_waiters();
    }

    /// Resolves when everything up to a revision is announced.
    #[cfg(feature = "etcd")]
    pub(crate) async fn reached(&self, revision: Revision) {
        loop {
            let mut more = std::pin::pin!(self.announced_more.notified());
            // From here on nothing is missed.
            more.as_mut().enable();
            if self.announced() >= revision {
                return;
            }
            more.await;
        }
    }

    /// Adds a watcher; none if there are too many. Returns its place and the newest revision, which it may have missed.
    pub(super) fn register(&self, request: &WatchRequest, slot: &Arc<Slot>) -> Option<(usize, Revision)> {
        let (key, range_end) = (&request.key, request.range_end.as_ref());
        let mut registry = self.registry.lock();
        if registry.watchers >= self.watches_max {
            return None;
        }
        registry.watchers += 1;
        self.look_back.fetch_add(usize::from(request.prev_kv), Ordering::Relaxed);
        let place = registry.index.get_or_insert(key, range_end, Arc::default).add(Arc::clone(slot));
        // Under the lock: what is newer than this, the notifier has yet to match, and will see this watcher.
        Some((place, self.ring.newest()))
    }

    pub(super) fn unregister(&self, request: &WatchRequest, place: usize) {
        let (key, range_end) = (&request.key, request.range_end.as_ref());
        self.look_back.fetch_sub(usize::from(request.prev_kv), Ordering::Relaxed);
        let mut registry = self.registry.lock();
        registry.watchers = registry.watchers.saturating_sub(1);
        if registry.index.get(key, range_end).is_some_and(|group| group.remove(place)) {
            registry.index.remove(key, range_end);
        }
    }

    async fn notify(&self) {
        loop {
            let next = self.announced().next();
            let items = match self.ring.slice(next, Revision(i64::MAX), GROUP_REVISIONS_MAX) {
                Slice::Items(items) => items,
                Slice::Gone => {
                    self.announce_all(next);
                    continue;
                }
            };
            let Some(last) = items.last() else {
                if self.ended.load(Ordering::Acquire) {
                    return;
                }
                self.published.notified().await;
                continue;
            };
            self.announce(&items);
            self.set_announced(last);
        }
    }

    /// Tells each watcher of the first and last of these revisions that concern it; one wake for all. What a revision costs here depends on
    /// the ranges that are watched, not on how many watch each.
    fn announce(&self, items: &Items) {
        let noted = self.registry.lock().note(items);
        for group in noted {
            group.tell();
        }
    }

    /// The ring moved on before the notifier saw it: every watcher has to look for itself.
    fn announce_all(&self, from: Revision) {
        let newest = self.ring.newest();
        // How much that is, nobody knows: it counts for nothing.
        let due = Due { span: Span { first: from, last: newest }, bytes: 0 };
        self.registry.lock().index.visit_all(&mut |group| group.mark(due));
        self.set_announced(newest);
    }
}
