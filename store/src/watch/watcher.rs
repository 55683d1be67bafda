//! One open watch.
use std::collections::VecDeque;
use std::sync::Arc;

use tokio::time::Instant;

use super::hub::Hub;
use super::ring::{Published, Slice};
use super::slot::{Slot, Span};
use crate::api::{Event, EventKind, Revision, WatchBatch, WatchError, WatchRequest};
use crate::engine::{HistoryPage, HistoryRequest};
use crate::mvcc::{Change, KeyRange};
use crate::stop::Stopped;

/// So many revisions are taken from the ring at once.
const RING_SLICE_MAX: usize = 128;

/// A watch that is open; dropping it ends it.
///
/// It costs the store a few hundred bytes, however much there is to deliver and however slowly it is read.
#[derive(Debug)]
pub struct Watch {
    hub: Arc<Hub>,
    request: WatchRequest,
    slot: Arc<Slot>,
    /// None if the watch was refused, or has ended.
    id: Option<u64>,
    refused: Option<WatchError>,
    /// The first revision that was not delivered.
    cursor: Revision,
    /// The revisions that have something for this watch, as far as it knows.
    span: Option<Span>,
    /// Found in the tables, not delivered yet.
    found: VecDeque<WatchBatch>,
    next_progress: Instant,
}

impl Watch {
    pub(crate) fn open(hub: Arc<Hub>, mut request: WatchRequest, refused: Option<WatchError>) -> Self {
        request.start = request.start.filter(|start| start.0 > 0);
        let slot = Arc::new(Slot::default());
        let next_progress = Instant::now() + hub.progress_interval;
        let registered = hub.register(&request.key, request.range_end.as_ref(), &slot);
        let mut watch = Self {
            hub,
            slot,
            id: registered.map(|(id, _)| id),
            refused: None,
            cursor: request.start.unwrap_or(Revision::INITIAL),
            span: None,
            found: VecDeque::new(),
            request,
            next_progress,
        };
        match registered {
            _ if refused.is_some() => watch.refused = refused,
            None => watch.refused = Some(WatchError::TooMany { max: watch.hub.watches_max() }),
            Some((_, newest)) => match watch.request.start {
                None => watch.cursor = newest.next(),
                Some(start) if start < watch.hub.tables.floor() => {
                    watch.refused = Some(WatchError::Compacted { floor: watch.hub.tables.floor() });
                }
                Some(start) if start <= newest => watch.span = Some(Span { first: start, last: newest }),
                Some(_) => {}
            },
        }
        watch
    }

    /// The next batch: all events of one revision that match, or, if progress was asked for, an empty batch now and then.
    ///
    /// # Errors
    /// [`WatchError::Compacted`] if what is to come next was compacted: the watch has ended, and its owner must read the current state.
    /// After any error the same error comes again.
    ///
    /// # Cancel safety
    /// A `next` that is dropped before it is ready loses nothing.
    pub async fn next(&mut self) -> Result<WatchBatch, WatchError> {
        loop {
            if let Some(refused) = &self.refused {
                return Err(refused.clone());
            }
            if let Some(batch) = self.found.pop_front() {
                self.cursor = batch.revision.next();
                self.next_progress = Instant::now() + self.hub.progress_interval;
                return Ok(batch);
            }
            // Before the slot is looked at: what is announced by now is in it.
            let announced = self.hub.announced();
            self.gather();
            match self.span {
                Some(span) => self.read(span).await,
                None => {
                    if let Some(progress) = self.wait(announced).await {
                        return Ok(progress);
                    }
                }
            }
        }
    }

    /// The first revision that was not delivered yet: where to resume from, also in another process.
    pub fn position(&self) -> Revision {
        self.cursor
    }

    /// Takes what the notifier left; nothing before the cursor counts.
    fn gather(&mut self) {
        if let Some(new) = self.slot.take() {
            self.span = Some(self.span.map_or(new, |span| span.join(new)));
        }
        self.span = self.span.and_then(|span| {
            let first = span.first.max(self.cursor);
            (first <= span.last).then_some(Span { first, last: span.last })
        });
    }

    /// Waits until there is something to read; returns progress if that is due first.
    async fn wait(&mut self, announced: Revision) -> Option<WatchBatch> {
        if let Err(stopped) = self.hub.stop.check() {
            self.refused = Some(match stopped {
                Stopped::Closed => WatchError::Closed,
                Stopped::Halted(halt) => WatchError::Halted(halt),
            });
            return None;
        }
        // Nothing up to `announced` is left for this watch.
        self.cursor = self.cursor.max(announced.next());
        if !self.request.progress {
            self.slot.woken().await;
            return None;
        }
        if self.next_progress <= Instant::now() {
            self.next_progress = Instant::now() + self.hub.progress_interval;
            return Some(WatchBatch { revision: announced, events: Vec::new() });
        }
        tokio::select! {
            biased;
            () = self.slot.woken() => {}
            () = tokio::time::sleep_until(self.next_progress) => {} // the caller looks again, then comes back here
        }
        None
    }

    /// Looks at the span: in the ring if that reaches back so far, else in the tables.
    async fn read(&mut self, span: Span) {
        match self.hub.ring.slice(span.first, span.last, RING_SLICE_MAX) {
            Slice::Items(items) => {
                let Some(last) = items.last().map(|item| item.revision) else {
                    // The span ends before the ring's newest revision only if it was never published.
                    self.span = None;
                    return;
                };
                let range = KeyRange::new(&self.request.key, self.request.range_end.as_ref());
                self.found.extend(items.iter().filter_map(|item| batch(item, range, &self.request)));
                self.advance(span, last.next());
            }
            Slice::Gone => self.read_history(span).await,
        }
    }

    fn advance(&mut self, span: Span, next: Revision) {
        self.span = (next <= span.last).then_some(Span { first: next, last: span.last });
        if self.found.is_empty() {
            self.cursor = self.cursor.max(next);
        }
    }

    async fn read_history(&mut self, span: Span) {
        let request = HistoryRequest {
            key: self.request.key.clone(),
            range_end: self.request.range_end.clone(),
            revisions: span.first.0..=span.last.0,
            prev_kv: self.request.prev_kv,
            puts: !self.request.filter_put,
            deletes: !self.request.filter_delete,
        };
        let tables = Arc::clone(&self.hub.tables);
        // If this is dropped here, the span is still there for the next call.
        match self.hub.pool.run(move || tables.history(&request)).await {
            Some(Ok(HistoryPage::Found { batches, next })) => {
                self.found.extend(batches);
                self.advance(span, next);
            }
            Some(Ok(HistoryPage::Compacted { floor })) => {
                self.refused = Some(WatchError::Compacted { floor });
            }
            Some(Err(error)) => self.refused = Some(WatchError::Engine(error.to_string())),
            None => self.refused = Some(WatchError::Closed),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.hub.unregister(&self.request.key, self.request.range_end.as_ref(), id);
        }
    }
}

/// The part of a revision that a watch asked for.
fn batch(item: &Published, range: KeyRange<'_>, request: &WatchRequest) -> Option<WatchBatch> {
    let wanted = |change: &&Change| {
        let filtered = match change.kind {
            EventKind::Put => request.filter_put,
            EventKind::Delete => request.filter_delete,
        };
        !filtered && range.contains(&change.kv.key)
    };
    let events: Vec<Event> = item
        .changes
        .iter()
        .filter(wanted)
        .map(|change| Event {
            kind: change.kind,
            kv: change.kv.clone(),
            prev: if request.prev_kv { change.prev.clone() } else { None },
        })
        .collect();
    (!events.is_empty()).then_some(WatchBatch { revision: item.revision, events })
}
