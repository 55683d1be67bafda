//! The mailbox of one watcher: not what happened, only where to look. Its size never changes.
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

/// Shared by a watcher and the hub.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    span: Mutex<Option<Span>>,
    wake: Notify,
}

impl Slot {
    /// Adds revisions and wakes the watcher.
    pub(crate) fn mark(&self, span: Span) {
        {
            let mut current = self.span.lock();
            *current = Some(current.map_or(span, |current| current.join(span)));
        }
        self.wake.notify_one();
    }

    pub(crate) fn take(&self) -> Option<Span> {
        self.span.lock().take()
    }

    /// Wakes the watcher so that it looks at the store's state.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }
}
