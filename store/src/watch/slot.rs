//! The mailbox of one watcher: not what happened, only where to look. Its size never changes.
#[cfg(feature = "etcd")]
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
        self.marked.lock().push(watcher);
        self.wake.notify_one();
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
