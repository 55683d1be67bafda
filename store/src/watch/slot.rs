//! The mailbox of one watcher: not what happened, only where to look. Its size never changes.
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

#[cfg(feature = "etcd")]
use super::owed::Owed;
use crate::api::Revision;

/// The revisions from the first to the last that concern a watcher, which it has not taken notice of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first: Revision,
    pub(crate) last: Revision,
}

impl Span {
    /// Both spans, and what lies between.
    pub(crate) fn join(self, other: Self) -> Self {
        Self { first: self.first.min(other.first), last: self.last.max(other.last) }
    }
}

/// A span, and how many bytes of events are in it, about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) span: Span,
    pub(crate) bytes: u64,
}

impl Due {
    fn join(self, other: Self) -> Self {
        Self { span: self.span.join(other.span), bytes: self.bytes.saturating_add(other.bytes) }
    }
}

/// Where the watchers of one task say that they have something to read: one wake for all, and only those named are looked at.
#[cfg(feature = "etcd")]
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    marked: Mutex<Vec<i64>>,
    wake: Notify,
    owed: Owed,
}

#[cfg(feature = "etcd")]
impl Mailbox {
    fn name(&self, watcher: i64) {
        let mut marked = self.marked.lock();
        marked.push(watcher);
        let first = marked.len() == 1;
        drop(marked);
        // Whoever was named before has not been taken yet, and has woken the task.
        if first {
            self.wake.notify_one();
        }
    }

    /// The watchers named since the last call.
    pub(crate) fn take(&self) -> Vec<i64> {
        std::mem::take(&mut *self.marked.lock())
    }

    /// Resolves when a watcher may have been named.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// What the watchers of the task have to be told.
    pub(crate) fn owed(&self) -> &Owed {
        &self.owed
    }
}

/// Who is woken.
#[derive(Debug)]
enum Wake {
    /// The watcher's own task.
    Own(Notify),
    /// The task of a group, which is told the watcher's name.
    #[cfg(feature = "etcd")]
    Group(Arc<Mailbox>, i64),
}

/// Shared by a watcher and the hub.
#[derive(Debug)]
pub(crate) struct Slot {
    due: Mutex<Option<Due>>,
    wake: Wake,
}

impl Default for Slot {
    fn default() -> Self {
        Self { due: Mutex::default(), wake: Wake::Own(Notify::new()) }
    }
}

impl Slot {
    /// The slot of a watcher in a group.
    #[cfg(feature = "etcd")]
    pub(crate) fn in_group(mailbox: Arc<Mailbox>, watcher: i64) -> Self {
        Self { due: Mutex::default(), wake: Wake::Group(mailbox, watcher) }
    }

    /// Adds revisions and wakes the watcher.
    pub(crate) fn mark(&self, due: Due) {
        let unseen = {
            let mut current = self.due.lock();
            let unseen = current.is_some();
            *current = Some(current.map_or(due, |current| current.join(due)));
            unseen
        };
        #[cfg(feature = "etcd")]
        if let Wake::Group(mailbox, _) = &self.wake {
            mailbox.owed.announce(due.bytes);
        }
        // Who was woken and has not looked since need not be woken again.
        if !unseen {
            self.wake();
        }
    }

    pub(crate) fn take(&self) -> Option<Due> {
        self.due.lock().take()
    }

    /// The watcher has read so many bytes of what it was told of, or wants them no more.
    #[cfg(feature = "etcd")]
    pub(super) fn settle(&self, bytes: u64) {
        if let Wake::Group(mailbox, _) = &self.wake
            && bytes > 0
        {
            mailbox.owed.settle(bytes);
        }
    }

    /// Wakes the watcher so that it looks at the store's state.
    pub(crate) fn wake(&self) {
        match &self.wake {
            Wake::Own(notify) => notify.notify_one(),
            #[cfg(feature = "etcd")]
            Wake::Group(mailbox, watcher) => mailbox.name(*watcher),
        }
    }

    /// Resolves when a watcher with a task of its own is woken.
    pub(crate) async fn woken(&self) {
        match &self.wake {
            Wake::Own(notify) => notify.notified().await,
            #[cfg(feature = "etcd")]
            Wake::Group(mailbox, _) => mailbox.woken().await,
        }
    }
}

/// All watchers of one range. What concerns one concerns all, so they are matched as one.
#[derive(Debug, Default)]
pub(crate) struct Group {
    members: Mutex<Members>,
    /// What the notifier has found for the group and not yet told.
    pending: Mutex<Option<Due>>,
}

#[derive(Debug, Default)]
struct Members {
    slots: Vec<Option<Arc<Slot>>>,
    free: Vec<usize>,
}

impl Group {
    /// Adds a watcher; returns its place in the group.
    pub(super) fn add(&self, slot: Arc<Slot>) -> usize {
        let mut members = self.members.lock();
        if let Some(place) = members.free.pop()
            && let Some(free) = members.slots.get_mut(place)
        {
            *free = Some(slot);
            return place;
        }
        members.slots.push(Some(slot));
        members.slots.len() - 1
    }

    /// Takes a watcher out. True if it was the last.
    pub(super) fn remove(&self, place: usize) -> bool {
        let mut members = self.members.lock();
        if members.slots.get_mut(place).is_some_and(|slot| slot.take().is_some()) {
            members.free.push(place);
        }
        members.free.len() == members.slots.len()
    }

    /// Notes revisions for the whole group. True if they are the first since the group was told.
    pub(super) fn note(&self, due: Due) -> bool {
        let mut pending = self.pending.lock();
        let first = pending.is_none();
        *pending = Some(pending.map_or(due, |whole| whole.join(due)));
        first
    }

    /// Tells every watcher of what was noted.
    pub(super) fn tell(&self) {
        // Not under the lock: to mark thousands takes time.
        let pending = self.pending.lock().take();
        if let Some(due) = pending {
            self.mark(due);
        }
    }

    pub(super) fn mark(&self, due: Due) {
        self.members.lock().slots.iter().flatten().for_each(|slot| slot.mark(due));
    }

    pub(super) fn wake(&self) {
        self.members.lock().slots.iter().flatten().for_each(|slot| slot.wake());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_a_group_is_used_again() {
        let group = Group::default();
        let places: Vec<usize> = (0..3).map(|_| group.add(Arc::default())).collect();
        assert_eq!(places, [0, 1, 2]);
        assert!(!group.remove(1));
        assert!(!group.remove(1), "a second time changes nothing");
        assert_eq!(group.add(Arc::default()), 1);
        assert!(!group.remove(0) && !group.remove(1));
        assert!(group.remove(2));
    }

    #[test]
    fn a_group_is_told_once_of_all_that_was_noted() {
        let group = Group::default();
        let slot = Arc::new(Slot::default());
        group.add(Arc::clone(&slot));
        let due =
            |first, last, bytes| Due { span: Span { first: Revision(first), last: Revision(last) }, bytes };
        assert!(group.note(due(3, 3, 10)));
        assert!(!group.note(due(5, 5, 7)));
        assert_eq!(slot.take(), None);
        group.tell();
        assert_eq!(slot.take(), Some(due(3, 5, 17)));
        group.tell();
        assert_eq!(slot.take(), None);
    }
}
