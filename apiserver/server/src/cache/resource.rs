//! The cache of one stored resource: the newest map and the ring of recent events.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mainstay_apiserver_machinery::kind::Kind;
use mainstay_store::Revision;
use parking_lot::RwLock;
use tokio::sync::watch;

use super::objects::Objects;
use super::ring::{Ring, RingBounds};
use super::watchers::{Slot, Watchers};
use super::{Cached, ChangeKind, Cursor, Event, Interest, Progress, Snapshot};

/// All objects of one stored resource, kept current by the feed.
pub struct ResourceCache {
    /// The kind whose form is stored.
    pub kind: &'static Kind,
    state: RwLock<State>,
    newest: watch::Sender<u64>,
    /// Those who want only some of the events; the others follow `newest`.
    watchers: Watchers,
    progress: Progress,
    closed: AtomicBool,
}

struct State {
    objects: Objects,
    /// What is stored and cannot be served, by `namespace/name`, with the reason.
    spoilt: BTreeMap<String, String>,
    revision: Revision,
    ring: Ring,
}

/// What was read from the store.
#[derive(Default)]
pub(super) struct Loaded {
    pub(super) objects: Vec<Cached>,
    spoilt: BTreeMap<String, String>,
}

impl Loaded {
    /// Takes in an object, or why it cannot be served; `name` is what follows the prefix in its key.
    pub(super) fn take(&mut self, name: &str, read: Result<Cached, String>) {
        match read {
            Ok(cached) => self.objects.push(cached),
            Err(why) => drop(self.spoilt.insert(name.to_owned(), why)),
        }
    }
}

/// One change on its way into the cache.
pub(super) enum Change {
    Put(Arc<Cached>),
    Spoil { namespace: String, name: String, why: String },
    Delete { namespace: String, name: String },
}

/// The place a watch asked for is older than what the ring holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too old resource version: {wanted} ({oldest})")]
pub struct TooOld {
    /// The revision asked for.
    pub wanted: Revision,
    /// The oldest that works.
    pub oldest: Revision,
}

impl ResourceCache {
    pub(super) fn new(kind: &'static Kind, bounds: RingBounds, progress: Progress) -> Self {
        let state = State {
            objects: Objects::of_kind(kind),
            spoilt: BTreeMap::new(),
            revision: Revision(0),
            ring: Ring::new(Revision(0), bounds),
        };
        Self {
            kind,
            state: RwLock::new(state),
            newest: watch::Sender::new(0),
            watchers: Watchers::default(),
            progress,
            closed: AtomicBool::new(false),
        }
    }

    /// One object as it is now in the cache.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<Cached>> {
        self.state.read().objects.get(namespace, name).cloned()
    }

    /// Why an object that is stored cannot be served.
    pub fn spoilt(&self, namespace: &str, name: &str) -> Option<String> {
        let state = self.state.read();
        if state.spoilt.is_empty() {
            return None;
        }
        state.spoilt.get(&key_of(namespace, name)).cloned()
    }

    /// Why the first object of a namespace (of any, when empty) that cannot be served cannot be.
    pub fn first_spoilt(&self, namespace: &str) -> Option<String> {
        let state = self.state.read();
        let within =
            |name: &str| namespace.is_empty() || name.split_once('/').is_some_and(|(of, _)| of == namespace);
        state.spoilt.iter().find(|(name, _)| within(name)).map(|(_, why)| why.clone())
    }

    /// Everything, as it is now in the cache.
    pub fn snapshot(&self) -> Snapshot {
        let progress = self.progress.current();
        let state = self.state.read();
        Snapshot { revision: progress.max(state.revision), objects: state.objects.clone() }
    }

    /// Everything as it was at `revision`, if the ring reaches back that far.
    pub fn snapshot_at(&self, revision: Revision) -> Option<Snapshot> {
        let state = self.state.read();
        if revision < state.ring.floor() {
            return None;
        }
        let mut objects = state.objects.clone();
        for event in state.ring.newest_down_to(revision) {
            match (&event.change, &event.previous) {
                (ChangeKind::Added, _) => {
                    drop(objects.remove(&event.object.header.namespace, &event.object.header.name));
                }
                (ChangeKind::Modified, Some(previous)) => drop(objects.insert(previous)),
                (ChangeKind::Deleted, _) => drop(objects.insert(&event.object)),
                (ChangeKind::Modified, None) => return None,
            }
        }
        Some(Snapshot { revision, objects })
    }

    /// A cursor that delivers every event after `revision` that is of `interest`, and perhaps others.
    ///
    /// # Errors
    /// [`TooOld`] when some of those events are no longer in the ring.
    pub fn cursor_after(self: &Arc<Self>, revision: Revision, interest: Interest) -> Result<Cursor, TooOld> {
        let state = self.state.read();
        let seq = state
            .ring
            .seq_after(revision)
            .ok_or_else(|| TooOld { wanted: revision, oldest: state.ring.floor() })?;
        Ok(self.cursor_at(&state, seq, interest))
    }

    /// A snapshot, and a cursor for every event that goes on exactly where it ends.
    pub fn snapshot_and_cursor(self: &Arc<Self>) -> (Snapshot, Cursor) {
        self.snapshot_and_cursor_of(Interest::Everything)
    }

    /// A snapshot of everything, and a cursor that goes on exactly where it ends with the events of `interest`.
    pub fn snapshot_and_cursor_of(self: &Arc<Self>, interest: Interest) -> (Snapshot, Cursor) {
        let progress = self.progress.current();
        let state = self.state.read();
        let snapshot = Snapshot { revision: progress.max(state.revision), objects: state.objects.clone() };
        let cursor = self.cursor_at(&state, state.ring.next_seq(), interest);
        (snapshot, cursor)
    }

    /// Made while the state is held, so that no event falls between the place and the first note.
    fn cursor_at(self: &Arc<Self>, state: &State, seq: u64, interest: Interest) -> Cursor {
        if interest == Interest::Everything {
            return Cursor::following(Arc::clone(self), seq, self.newest.subscribe());
        }
        let slot = Arc::new(Slot::starting_at(seq, &state.ring));
        self.watchers.add(interest.clone(), &slot);
        Cursor::noted(Arc::clone(self), interest, slot)
    }

    pub(super) fn forget(&self, interest: &Interest, slot: &Arc<Slot>) {
        self.watchers.remove(interest, slot);
    }

    /// How many watchers want only some of the events.
    #[cfg(test)]
    pub(super) fn watching(&self) -> usize {
        self.watchers.count()
    }

    pub(super) fn read_noted(&self, slot: &Slot, max: usize) -> Option<Vec<Arc<Event>>> {
        slot.read(&self.state.read().ring, max)
    }

    /// Changes whenever an object of this resource changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// The revision up to which every change of this resource was seen.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    pub(super) fn read_events(&self, seq: u64, max: usize) -> Option<Vec<Arc<Event>>> {
        self.state.read().ring.read(seq, max)
    }

    /// Replaces everything; open cursors end.
    pub(super) fn load(&self, loaded: Loaded, revision: Revision) {
        let mut objects = Objects::of_kind(self.kind);
        objects.extend(loaded.objects);
        let mut state = self.state.write();
        state.spoilt = loaded.spoilt;
        state.objects = objects;
        state.revision = revision;
        state.ring.reset(revision);
        self.watchers.lose_all();
        let seq = state.ring.next_seq();
        drop(state);
        self.newest.send_replace(seq);
    }

    /// Empties it for good: its watches end.
    pub(super) fn close(&self, revision: Revision) {
        self.closed.store(true, Ordering::Release);
        self.load(Loaded::default(), revision);
    }

    /// Whether its resource is no longer kept here.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Shows the same objects by the kind's present schema. No event tells of it: nothing was written.
    pub(super) fn renew(&self, loaded: Loaded) {
        let mut objects = Objects::of_kind(self.kind);
        objects.extend(loaded.objects);
        let mut state = self.state.write();
        state.objects = objects;
        state.spoilt = loaded.spoilt;
    }

    /// Takes in the changes of one revision at once.
    pub(super) fn apply(&self, changes: Vec<Change>, revision: Revision) {
        let mut woken = Vec::new();
        let mut state = self.state.write();
        for change in changes {
            if let Some(event) = state.take(change, revision) {
                self.watchers.note(&event, state.ring.next_seq(), &mut woken);
                state.ring.push(Arc::new(event));
            }
        }
        state.revision = revision;
        let seq = state.ring.next_seq();
        drop(state);
        Watchers::wake(&woken);
        self.newest.send_replace(seq);
    }
}

fn key_of(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}

impl State {
    fn forget_spoilt(&mut self, namespace: &str, name: &str) {
        if !self.spoilt.is_empty() {
            self.spoilt.remove(&key_of(namespace, name));
        }
    }

    fn take(&mut self, change: Change, revision: Revision) -> Option<Event> {
        match change {
            Change::Put(object) => {
                self.forget_spoilt(&object.header.namespace, &object.header.name);
                let previous = self.objects.insert(&object);
                let kind = if previous.is_some() { ChangeKind::Modified } else { ChangeKind::Added };
                Some(Event::new(revision, kind, object, previous))
            }
            Change::Spoil { namespace, name, why } => {
                // For those who watch it is gone; who asks for it hears why.
                self.spoilt.insert(key_of(&namespace, &name), why);
                let gone = self.objects.remove(&namespace, &name)?;
                Some(Event::new(revision, ChangeKind::Deleted, gone, None))
            }
            Change::Delete { namespace, name } => {
                self.forget_spoilt(&namespace, &name);
                let gone = self.objects.remove(&namespace, &name)?;
                Some(Event::new(revision, ChangeKind::Deleted, gone, None))
            }
        }
    }
}

impl std::fmt::Debug for ResourceCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResourceCache").field("kind", &self.kind).finish_non_exhaustive()
    }
}
