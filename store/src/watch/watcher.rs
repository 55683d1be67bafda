//! One open watch.
use std::collections::VecDeque;
use std::sync::Arc;

use tokio::time::Instant;

use super::cursor::{Cursor, Look, concerns};
use super::hub::Hub;
use super::ring::Published;
use super::slot::{Slot, Span};
use crate::api::{Event, Revision, WatchBatch, WatchError, WatchRequest};
use crate::engine::{HistoryPage, HistoryRequest};
use crate::platform::{SeededBug, is_seeded};
use crate::stop::Stopped;

/// A watch that is open; dropping it ends it.
///
/// It costs the store a few hundred bytes, however much there is to deliver and however slowly it is read.
#[derive(Debug)]
pub struct Watch {
    hub: Arc<Hub>,
    cursor: Cursor,
    refused: Option<WatchError>,
    /// Found, not delivered yet.
    found: VecDeque<WatchBatch>,
    next_progress: Instant,
}

impl Watch {
    /// `refused` is why the caller may not watch.
    pub(crate) fn open(hub: Arc<Hub>, request: WatchRequest, refused: Option<WatchError>) -> Self {
        let next_progress = Instant::now() + hub.progress_interval;
        let (cursor, wrong) = Cursor::open(Arc::clone(&hub), request, Arc::new(Slot::default()));
        Self { hub, cursor, refused: refused.or(wrong), found: VecDeque::new(), next_progress }
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
                self.cursor.position = batch.revision.next();
                self.next_progress = Instant::now() + self.hub.progress_interval;
                return Ok(batch);
            }
            // Before the slot is looked at: what is announced by now is in it.
            let announced = self.hub.announced();
            match self.cursor.gather() {
                Some(_) if self.tells_progress_too_early() => {
                    return Ok(WatchBatch { revision: announced, events: Vec::new() });
                }
                Some(span) => self.read(span).await,
                None => {
                    if let Some(progress) = self.wait(announced).await {
                        return Ok(progress);
                    }
                }
            }
        }
    }

    /// A mistake for simulations: progress is told although there are events to deliver.
    fn tells_progress_too_early(&mut self) -> bool {
        let interval = self.hub.progress_interval;
        let tells = is_seeded(SeededBug::ProgressAheadOfEvents)
            && self.cursor.request.progress
            && self.next_progress <= Instant::now() + interval / 2;
        if tells {
            self.next_progress = Instant::now() + interval;
        }
        tells
    }

    /// The first revision that was not delivered yet: where to resume from, also in another process.
    pub fn position(&self) -> Revision {
        self.cursor.position
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
        self.cursor.delivered(announced.next());
        if !self.cursor.request.progress {
            self.cursor.slot.woken().await;
            return None;
        }
        if self.next_progress <= Instant::now() {
            self.next_progress = Instant::now() + self.hub.progress_interval;
            // A member that lags behind where the watch begins has no progress to tell: to its owner, revisions would go back.
            if self.cursor.position == announced.next() {
                return Some(WatchBatch { revision: announced, events: Vec::new() });
            }
            return None;
        }
        tokio::select! {
            biased;
            () = self.cursor.slot.woken() => {}
            () = tokio::time::sleep_until(self.next_progress) => {} // the caller looks again, then comes back here
        }
        None
    }

    /// Looks at the span.
    async fn read(&mut self, span: Span) {
        match self.cursor.look(span) {
            Look::Recent { items, next } => {
                self.found.extend(items.iter().filter_map(|item| batch(item, &self.cursor.request)));
                self.advance(span, next);
            }
            Look::Old(request) => self.read_history(span, request).await,
            Look::Nothing => self.cursor.span = None,
        }
    }

    fn advance(&mut self, span: Span, next: Revision) {
        self.cursor.advance(span, next);
        if self.found.is_empty() {
            self.cursor.delivered(next);
        }
    }

    async fn read_history(&mut self, span: Span, request: HistoryRequest) {
        let tables = Arc::clone(&self.hub.tables);
        // If this is dropped here, the span is still there for the next call.
        match self.hub.pool.run(move || tables.history(&request)).await {
            Some(Ok(HistoryPage::Found { batches, next })) => {
                self.found.extend(batches);
                self.advance(span, next);
            }
            Some(Ok(HistoryPage::Compacted { floor })) if is_seeded(SeededBug::WatchSkipsCompacted) => {
                self.advance(span, floor);
            }
            Some(Ok(HistoryPage::Compacted { floor })) => {
                self.refused = Some(WatchError::Compacted { floor });
            }
            Some(Err(error)) => self.refused = Some(WatchError::Engine(error.to_string())),
            None => self.refused = Some(WatchError::Closed),
        }
    }
}

/// The part of a revision that a watch asked for.
fn batch(item: &Published, request: &WatchRequest) -> Option<WatchBatch> {
    let events: Vec<Event> = concerns(item, request)
        .map(|change| Event {
            kind: change.kind,
            kv: change.kv.clone(),
            prev: if request.prev_kv { change.previous() } else { None },
        })
        .collect();
    (!events.is_empty()).then_some(WatchBatch { revision: item.revision, events })
}
