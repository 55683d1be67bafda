//! The body of a watch: a cursor, a selection and an encoder. It holds no queue of events of its own.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use hyper::body::Frame;
use mainstay_base::telemetry::trace::Delivery;
use mainstay_proto_api::{Status, WatchEventType};
use mainstay_store::Revision;
use prometheus::IntCounter;
use smol_str::SmolStr;
use tokio::time::{Instant, Sleep, sleep_until};

use super::watch_conversion::WatchConversion;
use crate::cache::{ChangeKind, Cursor, CursorEnd, Event};
use crate::core::Core;
use crate::encoding::{FrameEncoder, ListSource};
use crate::failure::{Failure, to_status};
use crate::flow::Seat;
use crate::registry::{Past, PastEvents, Seen};
use crate::selection::Selection;
use crate::types::BodyError;

/// Initial events made at once.
const INITIAL_BATCH: usize = 64;

/// Where a watch starts.
pub(super) enum Start {
    /// With the events of a cursor, which are those after a revision.
    Events(Cursor, Revision),
    /// With all objects, then a bookmark that marks their end if bookmarks are wanted, then the events after them.
    Initial {
        /// The objects.
        objects: ListSource,
        /// Their revision.
        revision: Revision,
        /// The events after it.
        cursor: Cursor,
    },
    /// With events that only the store remembers, then those of the ring.
    Past(Cursor, Box<PastEvents>),
    /// With an ERROR event, which is all there is.
    Refused(Cursor, Status),
}

/// A running watch.
pub(super) struct WatchStream {
    core: Arc<Core>,
    encoder: FrameEncoder,
    selection: Selection,
    cursor: Cursor,
    /// Where the history goes on if the ring does not.
    seen: Seen,
    /// What the client has seen already, perhaps more than this server has: nothing up to here is told.
    floor: Revision,
    phase: Phase,
    ready: VecDeque<Bytes>,
    bookmarks: bool,
    /// Where a webhook converts the objects.
    conversion: Option<WatchConversion>,
    timer: Pin<Box<Sleep>>,
    next_bookmark: Instant,
    end: Instant,
    sent: IntCounter,
    /// The seats that it takes until its initial events are told.
    seat: Option<Arc<Seat>>,
    /// Its own name for traces of what it tells; empty where nothing is traced.
    audit_id: SmolStr,
}

enum Phase {
    Refused(Box<Status>),
    Initial { objects: ListSource, revision: Revision },
    Past(Box<PastEvents>),
    Events,
    Ended,
}

impl WatchStream {
    pub(super) fn new(core: &Arc<Core>, encoder: FrameEncoder, selection: Selection, start: Start) -> Self {
        let floor = if let Start::Events(_, after) = &start { *after } else { Revision(0) };
        let (cursor, after, phase) = match start {
            Start::Events(cursor, after) => (cursor, after, Phase::Events),
            Start::Past(cursor, past) => (cursor, Revision(0), Phase::Past(past)),
            Start::Refused(cursor, status) => (cursor, Revision(0), Phase::Refused(Box::new(status))),
            Start::Initial { objects, revision, cursor } => {
                (cursor, revision, Phase::Initial { objects, revision })
            }
        };
        let now = Instant::now();
        let kind = encoder.objects.kind;
        Self {
            core: Arc::clone(core),
            sent: core.metrics.watch_events.with_label_values(&[kind.group, kind.version, kind.plural]),
            conversion: WatchConversion::of(&core.registry, kind),
            encoder,
            selection,
            cursor,
            seen: Seen::all(after),
            floor,
            phase,
            ready: VecDeque::new(),
            bookmarks: false,
            timer: Box::pin(sleep_until(now)),
            next_bookmark: now + core.limits.bookmark_interval,
            end: now + core.limits.watch_timeout_min,
            seat: None,
            audit_id: SmolStr::default(),
        }
    }

    /// Sends bookmarks now and then.
    pub(super) fn with_bookmarks(mut self, bookmarks: bool) -> Self {
        self.bookmarks = bookmarks;
        self
    }

    /// Ends after `lifetime`.
    pub(super) fn ending_after(mut self, lifetime: Duration) -> Self {
        self.end = Instant::now() + lifetime;
        self
    }

    /// Holds these seats until its initial events are told.
    pub(super) fn beginning_in(mut self, seat: Option<Arc<Seat>>) -> Self {
        self.seat = seat.filter(|_| matches!(self.phase, Phase::Initial { .. }));
        self
    }

    /// What traces of its events call it.
    pub(super) fn named(mut self, audit_id: &SmolStr) -> Self {
        self.audit_id = if self.core.tracer.is_some() { audit_id.clone() } else { SmolStr::default() };
        self
    }

    /// The frames until the watch ends.
    pub(super) fn frames(mut self) -> impl Stream<Item = Result<Frame<Bytes>, BodyError>> + Send {
        self.set_timer();
        futures::stream::unfold(Box::new(self), async |mut watch| {
            let frame = watch.next_frame().await?;
            Some((frame.map(Frame::data), watch))
        })
    }

    async fn next_frame(&mut self) -> Option<Result<Bytes, BodyError>> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Some(Ok(frame));
            }
            let step = match &mut self.phase {
                Phase::Ended => return None,
                Phase::Refused(status) => {
                    let frame = self.encoder.error(status);
                    self.phase = Phase::Ended;
                    frame.map(|frame| self.ready.push_back(frame))
                }
                Phase::Initial { .. } => self.fill_initial().await,
                Phase::Past(_) => self.fill_past().await,
                Phase::Events => self.fill_events().await,
            };
            if let Err(failure) = step {
                return self.fail(&failure);
            }
        }
    }

    /// Tells the client what broke, as upstream does: an ERROR event, then the end.
    fn fail(&mut self, failure: &Failure) -> Option<Result<Bytes, BodyError>> {
        self.phase = Phase::Ended;
        let status = to_status(Some(self.encoder.objects.kind), failure);
        self.encoder.error(&status).ok().map(Ok)
    }

    async fn fill_initial(&mut self) -> Result<(), Failure> {
        let Phase::Initial { objects, revision } = &mut self.phase else { return Ok(()) };
        let Some(mut batch) = objects.next_batch(INITIAL_BATCH) else {
            if self.bookmarks {
                self.ready.push_back(self.encoder.bookmark(*revision, true)?);
            }
            self.phase = Phase::Events;
            self.seat = None;
            return Ok(());
        };
        if let Some(conversion) = &self.conversion {
            batch = conversion.all(batch).await?;
            batch.retain(|object| self.selection.matches(object));
        }
        for object in batch {
            self.ready.push_back(self.encoder.object(&object, WatchEventType::Added)?);
            self.sent.inc();
        }
        Ok(())
    }

    async fn fill_events(&mut self) -> Result<(), Failure> {
        tokio::select! {
            biased;
            () = self.core.stop.cancelled() => self.phase = Phase::Ended,
            events = self.cursor.next() => match events {
                Ok(events) => return self.take(&events).await,
                Err(CursorEnd::Lagged) => return self.lagged().await,
                Err(CursorEnd::Closed) => self.phase = Phase::Ended,
            },
            () = self.timer.as_mut() => return self.tick(),
        }
        Ok(())
    }

    /// The ring has forgotten events that are to come: the store has them. Where it is another process, the stream ends and
    /// the client lists again, as with upstream's cacher.
    async fn lagged(&mut self) -> Result<(), Failure> {
        self.phase = Phase::Ended;
        let cache = Arc::clone(self.cursor.cache());
        if cache.is_closed() {
            return Ok(());
        }
        let (kind, interest) = (self.encoder.objects.kind, self.selection.interest());
        let past = self.core.registry.past(kind, &cache, self.seen.clone(), interest).await;
        if let Some(past) = past.map_err(Failure::Answered)? {
            self.phase = Phase::Past(Box::new(past));
        }
        Ok(())
    }

    async fn fill_past(&mut self) -> Result<(), Failure> {
        let Phase::Past(past) = &mut self.phase else { return Ok(()) };
        tokio::select! {
            biased;
            () = self.core.stop.cancelled() => self.phase = Phase::Ended,
            next = past.next() => match next? {
                Past::Events(events) => return self.take(&events).await,
                Past::Caught(cursor) => {
                    self.cursor = cursor;
                    self.phase = Phase::Events;
                }
            },
            () = self.timer.as_mut() => return self.tick(),
        }
        Ok(())
    }

    async fn take(&mut self, events: &[Arc<Event>]) -> Result<(), Failure> {
        let began = self.core.tracer.as_ref().map(|_traced| Instant::now());
        if let Some(last) = events.last() {
            self.seen = Seen::up_to(last);
        }
        self.encoder.objects.now = self.core.clock.wall();
        for event in events.iter().filter(|event| event.revision > self.floor) {
            if let Some(conversion) = &self.conversion {
                if let Some((object, kind)) = conversion.event(event, &self.selection).await? {
                    self.ready.push_back(self.encoder.object(&object, kind)?);
                    self.sent.inc();
                    self.trace(began, event, kind);
                }
                continue;
            }
            if let Some(kind) = visible_change(&self.selection, event) {
                self.ready.push_back(self.encoder.event(event, kind)?);
                self.sent.inc();
                self.trace(began, event, kind);
            }
        }
        Ok(())
    }

    /// The delivery is part of the trace of the write, if that is recorded.
    fn trace(&self, began: Option<Instant>, event: &Event, kind: WatchEventType) {
        let (Some(tracer), Some(began)) = (&self.core.tracer, began) else { return };
        let served = self.encoder.objects.kind;
        let attributes = vec![
            ("group", served.group.into()),
            ("resource", served.plural.into()),
            ("type", format!("{kind:?}").to_uppercase().into()),
            ("watch.audit-id", self.audit_id.as_str().into()),
        ];
        tracer.causes().delivered(event.revision.0, Delivery { began, ended: Instant::now(), attributes });
    }

    fn tick(&mut self) -> Result<(), Failure> {
        let now = Instant::now();
        if now >= self.end {
            self.phase = Phase::Ended;
            return Ok(());
        }
        // Progress is read first: every event up to it is then in the ring, and none of those waits to be read.
        let progress = self.cursor.cache().progress().current();
        if matches!(self.phase, Phase::Events) && progress >= self.floor && !self.cursor.is_behind() {
            self.seen = Seen::all(progress);
            self.ready.push_back(self.encoder.bookmark(progress, false)?);
        }
        self.next_bookmark = now + self.core.limits.bookmark_interval;
        self.set_timer();
        Ok(())
    }

    fn set_timer(&mut self) {
        let at = if self.bookmarks { self.next_bookmark.min(self.end) } else { self.end };
        self.timer.as_mut().reset(at);
    }
}

/// What an event looks like through a selection: objects come into view and leave it.
fn visible_change(selection: &Selection, event: &Event) -> Option<WatchEventType> {
    let before = match event.change {
        ChangeKind::Added => false,
        ChangeKind::Modified => event.previous.as_ref().is_some_and(|previous| selection.matches(previous)),
        ChangeKind::Deleted => selection.matches(&event.object),
    };
    let after = event.change != ChangeKind::Deleted && selection.matches(&event.object);
    match (before, after) {
        (false, true) => Some(WatchEventType::Added),
        (true, true) => Some(WatchEventType::Modified),
        (true, false) => Some(WatchEventType::Deleted),
        (false, false) => None,
    }
}
