//! The most recent revisions, in memory, shared by all watchers.
use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::api::Revision;
use crate::mvcc::Change;

/// What one revision changed.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) revision: Revision,
    pub(crate) changes: Vec<Change>,
}

impl Published {
    fn bytes(&self) -> usize {
        let of =
            |kv: &crate::api::KeyValue| kv.key.len() + kv.value.len() + size_of::<crate::api::KeyValue>();
        self.changes.iter().map(|change| of(&change.kv) + change.prev.as_ref().map_or(0, of)).sum()
    }
}

#[derive(Debug)]
struct Inner {
    /// Revisions without gap; the last is `newest`.
    items: VecDeque<Arc<Published>>,
    bytes: usize,
    newest: Revision,
}

/// The ring. It forgets the oldest revisions as its bounds demand.
#[derive(Debug)]
pub(crate) struct Ring {
    inner: RwLock<Inner>,
    revisions_max: usize,
    bytes_max: usize,
}

/// What the ring has from a revision on.
#[derive(Debug)]
pub(crate) enum Slice {
    Items(Vec<Arc<Published>>),
    /// It begins later.
    Gone,
}

impl Ring {
    pub(crate) fn new(newest: Revision, revisions_max: usize, bytes_max: usize) -> Self {
        let inner = Inner { items: VecDeque::new(), bytes: 0, newest };
        Self { inner: RwLock::new(inner), revisions_max: revisions_max.max(1), bytes_max }
    }

    pub(crate) fn push(&self, published: impl IntoIterator<Item = Arc<Published>>) {
        let mut inner = self.inner.write();
        for item in published {
            inner.newest = item.revision;
            inner.bytes += item.bytes();
            inner.items.push_back(item);
        }
        while inner.items.len() > self.revisions_max
            || (inner.bytes > self.bytes_max && inner.items.len() > 1)
        {
            if let Some(item) = inner.items.pop_front() {
                inner.bytes = inner.bytes.saturating_sub(item.bytes());
            }
        }
    }

    /// Forgets everything; the next revision is the one after `newest`.
    pub(crate) fn skip_to(&self, newest: Revision) {
        let mut inner = self.inner.write();
        inner.items.clear();
        inner.bytes = 0;
        inner.newest = newest;
    }

    pub(crate) fn newest(&self) -> Revision {
        self.inner.read().newest
    }

    /// At most `max` revisions from `from` through `to`.
    pub(crate) fn slice(&self, from: Revision, to: Revision, max: usize) -> Slice {
        let inner = self.inner.read();
        let Some(first) = inner.items.front().map(|item| item.revision) else {
            return if from > inner.newest { Slice::Items(Vec::new()) } else { Slice::Gone };
        };
        if from < first {
            return Slice::Gone;
        }
        let skip = (from.0 - first.0) as usize;
        let items =
            inner.items.iter().skip(skip).take(max).take_while(|item| item.revision <= to).cloned().collect();
        Slice::Items(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(revision: i64) -> Arc<Published> {
        Arc::new(Published { revision: Revision(revision), changes: vec![] })
    }

    fn revisions(slice: Slice) -> Option<Vec<i64>> {
        match slice {
            Slice::Items(items) => Some(items.iter().map(|item| item.revision.0).collect()),
            Slice::Gone => None,
        }
    }

    #[test]
    fn a_slice_is_whole_or_gone() {
        let ring = Ring::new(Revision(1), 3, usize::MAX);
        assert_eq!(revisions(ring.slice(Revision(2), Revision(9), 9)), Some(vec![]));
        assert_eq!(revisions(ring.slice(Revision(1), Revision(9), 9)), None);
        ring.push((2..=6).map(published));
        assert_eq!(revisions(ring.slice(Revision(3), Revision(9), 9)), None);
        assert_eq!(revisions(ring.slice(Revision(4), Revision(9), 9)), Some(vec![4, 5, 6]));
        assert_eq!(revisions(ring.slice(Revision(4), Revision(5), 9)), Some(vec![4, 5]));
        assert_eq!(revisions(ring.slice(Revision(4), Revision(9), 1)), Some(vec![4]));
        assert_eq!(revisions(ring.slice(Revision(7), Revision(9), 9)), Some(vec![]));
    }
}
