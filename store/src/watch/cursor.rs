//! Where one watch stands: decided without waiting, so that one task can read many.
use std::sync::Arc;

use super::hub::Hub;
use super::ring::{Items, Published, Slice};
use super::slot::{Slot, Span};
use crate::api::{EventKind, Revision, WatchError, WatchRequest};
use crate::engine::HistoryRequest;
use crate::mvcc::{Change, KeyRange};
use crate::platform::{SeededBug, is_seeded};

/// So many revisions are taken from the ring at once.
const RING_SLICE_MAX: usize = 128;

/// What lies at a cursor.
#[derive(Debug)]
pub(crate) enum Look {
    /// Recent revisions, and the one that is next after them. Not all of them concern the watch: see [`concerns`].
    Recent { items: Items, next: Revision },
    /// They are not in memory any more: the tables have to be read.
    Old(HistoryRequest),
    /// Nothing.
    Nothing,
}

/// A position in history, registered with the hub; dropping it ends the watch.
#[derive(Debug)]
pub(crate) struct Cursor {
    hub: Arc<Hub>,
    pub(super) request: WatchRequest,
    pub(super) slot: Arc<Slot>,
    /// None if the watch was refused.
    place: Option<usize>,
    /// The first revision that was not delivered.
    pub(super) position: Revision,
    /// The revisions that have something for this watch, as far as it knows.
    pub(super) span: Option<Span>,
    /// About so many bytes of events are in them.
    #[cfg(feature = "etcd")]
    owed: u64,
    /// The store's newest revision when the watch was registered.
    #[cfg(feature = "etcd")]
    opened_at: Revision,
}

impl Cursor {
    /// Registers a watch; the error is that it cannot begin.
    pub(crate) fn open(
        hub: Arc<Hub>,
        mut request: WatchRequest,
        slot: Arc<Slot>,
    ) -> (Self, Option<WatchError>) {
        request.start = request.start.filter(|start| start.0 > 0);
        let registered = hub.register(&request, &slot);
        let mut cursor = Self {
            position: request.start.unwrap_or(Revision::INITIAL),
            span: None,
            #[cfg(feature = "etcd")]
            owed: 0,
            place: registered.map(|(place, _)| place),
            #[cfg(feature = "etcd")]
            opened_at: registered.map_or_else(|| hub.announced(), |(_, newest)| newest),
            hub,
            request,
            slot,
        };
        let Some((_, newest)) = registered else {
            let max = cursor.hub.watches_max();
            return (cursor, Some(WatchError::TooMany { max }));
        };
        let floor = cursor.hub.tables.floor();
        match cursor.request.start {
            None => cursor.position = newest.next(),
            Some(start) if start < floor && !is_seeded(SeededBug::WatchSkipsCompacted) => {
                return (cursor, Some(WatchError::Compacted { floor }));
            }
            Some(start) if start <= newest => cursor.span = Some(Span { first: start, last: newest }),
            Some(_) => {}
        }
        (cursor, None)
    }

    /// The store's newest revision when the watch was opened: without a start, it sees what is newer.
    #[cfg(feature = "etcd")]
    pub(crate) fn opened_at(&self) -> Revision {
        self.opened_at
    }

    #[cfg(feature = "etcd")]
    pub(crate) fn request(&self) -> &WatchRequest {
        &self.request
    }

    /// Takes what the notifier left; nothing before the position counts. Returns what there is to read.
    pub(crate) fn gather(&mut self) -> Option<Span> {
        if let Some(new) = self.slot.take() {
            self.span = Some(self.span.map_or(new.span, |span| span.join(new.span)));
            #[cfg(feature = "etcd")]
            {
                self.owed = self.owed.saturating_add(new.bytes);
            }
        }
        let span = self.span.and_then(|span| {
            let first = span.first.max(self.position);
            (first <= span.last).then_some(Span { first, last: span.last })
        });
        self.set_span(span);
        self.span
    }

    /// What lies in a span: in the ring if that reaches back so far, else in the tables.
    pub(crate) fn look(&self, span: Span) -> Look {
        match self.hub.ring.slice(span.first, span.last, RING_SLICE_MAX) {
            // The span ends before the ring's newest revision only if it was never published.
            Slice::Items(items) if self.is_served_by(&items) => match items.last().map(Revision::next) {
                Some(next) => Look::Recent { items, next },
                None => Look::Nothing,
            },
            Slice::Items(_) | Slice::Gone => Look::Old(HistoryRequest {
                key: self.request.key.clone(),
                range_end: self.request.range_end.clone(),
                revisions: span.first.0..=span.last.0,
                prev_kv: self.request.prev_kv,
                puts: !self.request.filter_put,
                deletes: !self.request.filter_delete,
            }),
        }
    }

    /// Whether items have all that the watch asked for. Those of a time when nobody watched with previous values may lack them.
    pub(crate) fn is_served_by(&self, items: &Items) -> bool {
        !self.request.prev_kv || items.are_whole()
    }

    /// What of the span is left after everything before `next` was read.
    pub(crate) fn advance(&mut self, span: Span, next: Revision) {
        #[cfg(feature = "etcd")]
        {
            let read = self.owed.min(part(self.owed, span, next));
            self.owed -= read;
            self.slot.settle(read);
        }
        self.set_span((next <= span.last).then_some(Span { first: next, last: span.last }));
    }

    /// Once nothing is left, nothing is owed.
    fn set_span(&mut self, span: Option<Span>) {
        self.span = span;
        #[cfg(feature = "etcd")]
        if span.is_none() {
            self.slot.settle(std::mem::take(&mut self.owed));
        }
    }

    /// Everything before `next` was delivered.
    pub(crate) fn delivered(&mut self, next: Revision) {
        self.position = self.position.max(next);
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.hub.unregister(&self.request, place);
        }
        // From here on nobody marks the slot.
        #[cfg(feature = "etcd")]
        {
            let unseen = self.slot.take().map_or(0, |due| due.bytes);
            self.slot.settle(self.owed.saturating_add(unseen));
        }
    }
}

/// What of the bytes of a span lies before `next`, if they are spread evenly.
#[cfg(feature = "etcd")]
fn part(bytes: u64, span: Span, next: Revision) -> u64 {
    let revisions = |from: Revision, to: Revision| u128::from(to.0.saturating_sub(from.0).unsigned_abs());
    let (read, all) = (revisions(span.first, next), revisions(span.first, span.last.next()));
    let part = u128::from(bytes) * read.min(all) / all.max(1);
    u64::try_from(part).unwrap_or(bytes)
}

/// The changes of a revision that a watch asked for.
pub(crate) fn concerns<'p>(
    item: &'p Published,
    request: &'p WatchRequest,
) -> impl Iterator<Item = &'p Change> + 'p {
    let range = KeyRange::new(&request.key, request.range_end.as_ref());
    item.changes.iter().filter(move |change| {
        let filtered = match change.kind {
            EventKind::Put => request.filter_put,
            EventKind::Delete => request.filter_delete,
        };
        !filtered && range.contains(&change.kv.key)
    })
}
