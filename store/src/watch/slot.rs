//! The mailbox of one watcher: not what happened, only where to look. Its size never changes.
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

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

/// Where the watchers of one task say that they have something to read: one wake for all, and only those named are looked at.
#[cfg(feature = "etcd")]
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    marked: Mutex<Vec<i64>>,
    wake: Notify,
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
    span: Mutex<Option<Span>>,
    wake: Wake,
}

impl Default for Slot {
    fn default() -> Self {
        Self { span: Mutex::default(), wake: Wake::Own(Notify::new()) }
    }
}

impl Slot {
    /// The slot of a watcher in a group.
    #[cfg(feature = "etcd")]
    pub(crate) fn in_group(mailbox: Arc<Mailbox>, watcher: i64) -> Self {
        Self { span: Mutex::default(), wake: Wake::Group(mailbox, watcher) }
    }

    /// Adds revisions and wakes the watcher.
    pub(crate) fn mark(&self, span: Span) {
        let unseen = {
            let mut current = self.span.lock();
            let unseen = current.is_some();
            *current = Some(current.map_or(span, |current| current.join(span)));
            unseen
        };
        // Who was woken and has not looked since need not be woken again.
        if !unseen {
            self.wake();
        }
    }

    pub(crate) fn take(&self) -> Option<Span> {
        self.span.lock().take()
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
    pending: Mutex<Option<Span>>,
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
    pub(super) fn note(&self, span: Span) -> bool {
        let mut pending = self.pending.lock();
        let first = pending.is_none();
        *pending = Some(pending.map_or(span, |whole| whole.join(span)));
        first
    }

    /// Tells every watcher of what was noted.
    pub(super) fn tell(&self) {
        if let Some(span) = self.pending.lock().take() {
            self.mark(span);
        }
    }

    pub(super) fn mark(&self, span: Span) {
        self.members.lock().slots.iter().flatten().for_each(|slot| slot.mark(span));
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
        let span = |first, last| Span { first: Revision(first), last: Revision(last) };
        assert!(group.note(span(3, 3)));
        assert!(!group.note(span(5, 5)));
        assert_eq!(slot.take(), None);
        group.tell();
        assert_eq!(slot.take(), Some(span(3, 5)));
        group.tell();
        assert_eq!(slot.take(), None);
    }
}
