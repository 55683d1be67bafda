//! The most recent revisions, in memory, shared by all watchers.
use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::api::Revision;
use crate::mvcc::{Before, Change};

/// What one revision changed.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) revision: Revision,
    pub(crate) changes: Vec<Change>,
}

impl Published {
    fn bytes(&self) -> usize {
        let before = |before: &Before| before.value.as_ref().map_or(0, bytes::Bytes::len);
        let of = |change: &Change| {
            let kv = &change.kv;
            kv.key.len() + kv.value.len() + size_of::<Change>() + change.prev.as_ref().map_or(0, before)
        };
        self.changes.iter().map(of).sum()
    }

    /// Whether the values before its changes are known.
    fn is_whole(&self) -> bool {
        self.changes.iter().all(|change| change.prev.as_ref().is_none_or(|before| before.value.is_some()))
    }
}

/// The revisions that were applied together, without gap and never empty. It is what is shared, so that a watcher takes one reference for
/// many revisions.
#[derive(Debug)]
struct Chunk {
    items: Vec<Published>,
    bytes: usize,
    /// Whether the values before all changes are known.
    whole: bool,
}

impl Chunk {
    fn first(&self) -> Option<Revision> {
        self.items.first().map(|item| item.revision)
    }
}

#[derive(Debug)]
struct Inner {
    /// Revisions without gap; the last is `newest`.
    chunks: VecDeque<Arc<Chunk>>,
    revisions: usize,
    bytes: usize,
    newest: Revision,
}

/// The ring. It forgets the oldest revisions as its bounds demand, but never the newest chunk.
#[derive(Debug)]
pub(crate) struct Ring {
    inner: RwLock<Inner>,
    revisions_max: usize,
    bytes_max: usize,
}

/// What the ring has from a revision on.
#[derive(Debug)]
pub(crate) enum Slice {
    Items(Items),
    /// It begins later.
    Gone,
}

/// Some revisions without gap.
#[derive(Debug)]
pub(crate) struct Items {
    chunks: Vec<Arc<Chunk>>,
    from: Revision,
    to: Revision,
}

impl Items {
    /// Them in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Published> {
        let (from, to) = (self.from, self.to);
        self.chunks.iter().flat_map(move |chunk| {
            let skip = chunk.first().map_or(0, |first| (from.0 - first.0).max(0)) as usize;
            let items = chunk.items.get(skip..).unwrap_or_default();
            items.iter().take_while(move |item| item.revision <= to)
        })
    }

    /// Whether the values before their changes are known. If they are not, who wants those finds them in the tables.
    pub(crate) fn are_whole(&self) -> bool {
        self.chunks.iter().all(|chunk| chunk.whole)
    }

    /// The first one's revision; none if there is none.
    #[cfg(feature = "etcd")]
    pub(crate) fn first(&self) -> Option<Revision> {
        (!self.chunks.is_empty()).then_some(self.from)
    }

    /// The last one's revision; none if there is none.
    pub(crate) fn last(&self) -> Option<Revision> {
        (!self.chunks.is_empty()).then_some(self.to)
    }
}

impl Ring {
    pub(crate) fn new(newest: Revision, revisions_max: usize, bytes_max: usize) -> Self {
        let inner = Inner { chunks: VecDeque::new(), revisions: 0, bytes: 0, newest };
        Self { inner: RwLock::new(inner), revisions_max: revisions_max.max(1), bytes_max }
    }

    /// Adds revisions that were applied together.
    pub(crate) fn push(&self, items: Vec<Published>) {
        let Some(newest) = items.last().map(|item| item.revision) else { return };
        let bytes = items.iter().map(Published::bytes).sum();
        let whole = items.iter().all(Published::is_whole);
        let chunk = Arc::new(Chunk { items, bytes, whole });
        let mut forgotten = Vec::new();
        {
            let mut inner = self.inner.write();
            inner.newest = newest;
            inner.bytes += bytes;
            inner.revisions += chunk.items.len();
            inner.chunks.push_back(chunk);
            while (inner.revisions > self.revisions_max || inner.bytes > self.bytes_max)
                && inner.chunks.len() > 1
                && let Some(oldest) = inner.chunks.pop_front()
            {
                inner.bytes = inner.bytes.saturating_sub(oldest.bytes);
                inner.revisions = inner.revisions.saturating_sub(oldest.items.len());
                forgotten.push(oldest);
            }
        }
        drop(forgotten); // outside the lock: it may be much
    }

    /// Forgets everything; the next revision is the one after `newest`.
    pub(crate) fn skip_to(&self, newest: Revision) {
        let mut inner = self.inner.write();
        inner.chunks.clear();
        inner.bytes = 0;
        inner.revisions = 0;
        inner.newest = newest;
    }

    pub(crate) fn newest(&self) -> Revision {
        self.inner.read().newest
    }

    /// At most about `max` revisions (at least one, if there are any) from `from` through `to`.
    pub(crate) fn slice(&self, from: Revision, to: Revision, max: usize) -> Slice {
        let inner = self.inner.read();
        let none = Items { chunks: Vec::new(), from, to };
        let Some(first) = inner.chunks.front().and_then(|chunk| chunk.first()) else {
            return if from > inner.newest { Slice::Items(none) } else { Slice::Gone };
        };
        if from < first {
            return Slice::Gone;
        }
        let to = to.min(inner.newest).min(Revision(from.0.saturating_add(max as i64 - 1)));
        if from > to {
            return Slice::Items(none);
        }
        // Chunks follow each other without gap: the one with `from` is the last that does not begin after it.
        let begin = inner.chunks.partition_point(|chunk| chunk.first() <= Some(from)).saturating_sub(1);
        let chunks: Vec<_> =
            inner.chunks.range(begin..).take_while(|chunk| chunk.first() <= Some(to)).cloned().collect();
        Slice::Items(Items { chunks, from, to })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(revisions: std::ops::RangeInclusive<i64>) -> Vec<Published> {
        revisions.map(|revision| Published { revision: Revision(revision), changes: vec![] }).collect()
    }

    fn revisions(slice: Slice) -> Option<Vec<i64>> {
        match slice {
            Slice::Items(items) => {
                let found: Vec<i64> = items.iter().map(|item| item.revision.0).collect();
                assert_eq!(items.last().map(|last| last.0), found.last().copied());
                Some(found)
            }
            Slice::Gone => None,
        }
    }

    #[test]
    fn a_slice_is_whole_or_gone() {
        let ring = Ring::new(Revision(1), 4, usize::MAX);
        assert_eq!(revisions(ring.slice(Revision(2), Revision(9), 9)), Some(vec![]));
        assert_eq!(revisions(ring.slice(Revision(1), Revision(9), 9)), None);
        for chunk in [2..=3, 4..=4, 5..=6] {
            ring.push(published(chunk));
        }
        assert_eq!(revisions(ring.slice(Revision(3), Revision(9), 9)), None);
        assert_eq!(revisions(ring.slice(Revision(4), Revision(9), 9)), Some(vec![4, 5, 6]));
        assert_eq!(revisions(ring.slice(Revision(4), Revision(5), 9)), Some(vec![4, 5]));
        assert_eq!(revisions(ring.slice(Revision(4), Revision(9), 1)), Some(vec![4]));
        assert_eq!(revisions(ring.slice(Revision(6), Revision(9), 9)), Some(vec![6]));
        assert_eq!(revisions(ring.slice(Revision(7), Revision(9), 9)), Some(vec![]));
    }

    #[test]
    fn the_newest_chunk_stays_however_large_it_is() {
        let ring = Ring::new(Revision(1), 2, usize::MAX);
        ring.push(published(2..=9));
        assert_eq!(revisions(ring.slice(Revision(2), Revision(9), 99)), Some((2..=9).collect()));
        ring.push(published(10..=10));
        assert_eq!(revisions(ring.slice(Revision(9), Revision(10), 99)), None);
        assert_eq!(revisions(ring.slice(Revision(10), Revision(10), 99)), Some(vec![10]));
    }
}
