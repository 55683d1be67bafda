//! One Watch stream: its requests, its watches, its responses.
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use foldhash::quality::RandomState;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use mainstay_proto_wire::etcd::etcdserverpb as pb;
use pb::watch_create_request::FilterType;
use pb::watch_request::RequestUnion;
use tokio::time::Instant;
use tonic::{Status, Streaming};

use super::super::access::Credentials;
use super::super::face::{Face, asks_for_leader};
use super::super::pace::Joined;
use super::super::{convert, refusal, traced};
use super::encode::{self, EncodedEvents, EventWriter, Response};
use super::head::Head;
use super::progress::ProgressTicks;
use super::shape::{ShapeId, Shapes};
use crate::api::{Revision, WatchBatch, WatchError, WatchRequest};
use crate::engine::HistoryPage;
use crate::watch::{Cursor, Items, Look, Mailbox, Slot, Span, concerns};

/// The watch of a response that is about no single one.
const NO_WATCH: i64 = -1;
/// So many bytes of responses are made at once; the rest when the connection has taken these.
const READY_BYTES_MAX: usize = 256 << 10;

/// One of the stream's watches.
#[derive(Debug)]
struct Watching {
    cursor: Cursor,
    shape: Arc<ShapeId>,
    fragment: bool,
    /// It began in the past and has not come to the present yet.
    catches_up: bool,
    /// Asked for progress, and whether nothing was sent since the last tick.
    progress: Option<bool>,
    /// A read of its history is under way.
    reading: bool,
    /// Tells this watch from an earlier one of the same identifier.
    generation: u64,
}

type History = BoxFuture<'static, (i64, u64, Option<Result<HistoryPage, String>>)>;

/// The stream.
#[allow(clippy::struct_excessive_bools, reason = "four independent facts")]
pub(super) struct Session {
    face: Arc<Face>,
    /// Who opened the stream. Each watch is checked anew: users may have changed.
    who: Credentials,
    requests: Streaming<pb::WatchRequest>,
    requests_ended: bool,
    needs_leader: bool,
    mailbox: Arc<Mailbox>,
    /// Its place among the streams that writers wait for.
    joined: Joined,
    watches: HashMap<i64, Watching, RandomState>,
    shapes: Shapes,
    /// What the watch before had to read, while several are read.
    looked: Option<(Span, Items, Revision)>,
    /// The next identifier that the server chooses.
    next_id: i64,
    generations: u64,
    /// Watches with something to read.
    ready: VecDeque<i64>,
    histories: FuturesUnordered<History>,
    responses: VecDeque<Response>,
    response_bytes: usize,
    /// The client asked how far the stream has come; this was the store's revision then.
    progress_asked: Option<Revision>,
    progress_due: bool,
    ticks: ProgressTicks,
    ended: bool,
}

impl Session {
    pub(super) fn open(
        face: Arc<Face>,
        request: tonic::Request<Streaming<pb::WatchRequest>>,
    ) -> Result<Self, Status> {
        let who = face.credentials(&request)?;
        let needs_leader = asks_for_leader(&request);
        let spread = (crate::platform::random("watch") % 1000) as u32;
        let mailbox = Arc::default();
        let joined = face.pace.join(&mailbox);
        let ticks = ProgressTicks::new(face.config.watch_progress_interval, spread, Instant::now());
        Ok(Self {
            face,
            who,
            requests: request.into_inner(),
            requests_ended: false,
            needs_leader,
            mailbox,
            joined,
            watches: HashMap::default(),
            shapes: Shapes::default(),
            looked: None,
            next_id: 0,
            generations: 0,
            ready: VecDeque::new(),
            histories: FuturesUnordered::new(),
            responses: VecDeque::new(),
            response_bytes: 0,
            progress_asked: None,
            progress_due: false,
            ticks,
            ended: false,
        })
    }

    /// The next response; none after the end.
    pub(super) async fn next(&mut self) -> Option<Result<Response, Status>> {
        loop {
            if self.ended {
                return None;
            }
            if let Some(response) = self.responses.pop_front() {
                self.response_bytes -= response.len();
                return Some(Ok(response));
            }
            self.drain();
            if !self.responses.is_empty() {
                continue;
            }
            let hub = &self.face.store.core().hub;
            let unannounced = self.progress_asked.filter(|asked| hub.announced() < *asked);
            // Each of these can be dropped half-way: a message stays in the stream, a wake in the mailbox, a read in the set.
            tokio::select! {
                biased;
                () = self.face.stop.cancelled() => return Some(self.end(refusal::STOPPED.into())),
                () = self.face.leader_lost(), if self.needs_leader => return Some(self.end(refusal::NO_LEADER.into())),
                request = self.requests.message(), if !self.requests_ended => match request {
                    Ok(Some(request)) => self.take(request).await,
                    Ok(None) => self.requests_ended = true,
                    Err(status) => return Some(self.end(status)),
                },
                () = self.mailbox.woken() => {}
                () = hub.reached(unannounced.unwrap_or_default()), if unannounced.is_some() => {}
                Some((id, generation, page)) = self.histories.next(), if !self.histories.is_empty() => {
                    self.take_history(id, generation, page);
                }
                () = self.ticks.tick() => self.progress_due = true,
            }
        }
    }

    fn end(&mut self, why: Status) -> Result<Response, Status> {
        self.ended = true;
        self.watches.clear();
        Err(why)
    }

    async fn take(&mut self, request: pb::WatchRequest) {
        match request.request_union {
            Some(RequestUnion::CreateRequest(request)) => self.create(&request).await,
            Some(RequestUnion::CancelRequest(request)) => self.cancel(request.watch_id),
            Some(RequestUnion::ProgressRequest(_)) => self.progress_asked = Some(self.face.store.revision()),
            None => {}
        }
    }

    /// As in etcd, nobody is told of a watch that is not there.
    fn cancel(&mut self, id: i64) {
        if self.remove(id) {
            let head = self.head(id, self.face.store.revision());
            self.send(&pb::WatchResponse { canceled: true, ..head });
        }
    }

    fn head(&self, watch_id: i64, revision: Revision) -> pb::WatchResponse {
        pb::WatchResponse { header: self.face.header(revision), watch_id, ..Default::default() }
    }

    fn send(&mut self, head: &pb::WatchResponse) {
        self.push(Response::of(head));
    }

    fn push(&mut self, response: Response) {
        self.response_bytes += response.len();
        self.responses.push_back(response);
    }

    /// Exclusive, as the stream cannot be looked at by two threads.
    async fn may_watch(&mut self, wanted: &WatchRequest) -> Result<(), Status> {
        let store = self.face.acting(&self.who).await?;
        store.check_watch(wanted).await.map_err(refusal::of_auth)
    }

    /// Opens a watch. Whatever is wrong with the request, the stream goes on.
    async fn create(&mut self, request: &pb::WatchCreateRequest) {
        let (id, wanted) = match self.check(request) {
            Ok(checked) => checked,
            Err(reason) => return self.refuse(reason),
        };
        if let Err(status) = self.may_watch(&wanted).await {
            // As Go prints a status.
            return self.refuse(format!("rpc error: code = {:?} desc = {}", status.code(), status.message()));
        }
        let slot = Arc::new(Slot::in_group(Arc::clone(&self.mailbox), id));
        let hub = Arc::clone(&self.face.store.core().hub);
        let (cursor, refused) = Cursor::open(hub, wanted, slot);
        if let Some(error @ WatchError::TooMany { .. }) = refused {
            return self.refuse(refusal::of_watch(&error).message().to_owned());
        }
        let created = pb::WatchResponse { created: true, ..self.head(id, cursor.opened_at()) };
        self.send(&created);
        if let Some(error) = refused {
            return self.send_end(id, &error);
        }
        self.generations += 1;
        let watching = Watching {
            shape: self.shapes.add(cursor.request()),
            catches_up: cursor.request().start.is_some_and(|start| start <= cursor.opened_at()),
            cursor,
            fragment: request.fragment,
            progress: request.progress_notify.then_some(true),
            reading: false,
            generation: self.generations,
        };
        self.watches.insert(id, watching);
        self.ready.push_back(id);
    }

    /// The identifier and the watch that a request asks for, or why it cannot be.
    fn check(&mut self, request: &pb::WatchCreateRequest) -> Result<(i64, WatchRequest), String> {
        if request.start_revision < 0 {
            return Err(refusal::COMPACTED.text().into());
        }
        let filtered = |filter: FilterType| request.filters.contains(&i32::from(filter));
        let wanted = WatchRequest {
            // No key is the least key; with the end "to the last key" that is every key.
            key: if request.key.is_empty() {
                Bytes::from_static(b"\0")
            } else {
                convert::owned(&request.key)
            },
            range_end: convert::range_end(&request.range_end),
            start: (request.start_revision > 0).then_some(Revision(request.start_revision)),
            prev_kv: request.prev_kv,
            filter_put: filtered(FilterType::Noput),
            filter_delete: filtered(FilterType::Nodelete),
            progress: false,
        };
        if wanted.range_end.as_ref().is_some_and(|end| &end[..] != b"\0" && *end <= wanted.key) {
            return Err("mvcc: watcher range is empty".into());
        }
        if request.watch_id != 0 {
            return if self.watches.contains_key(&request.watch_id) {
                Err("mvcc: duplicate watch ID provided on the WatchStream".into())
            } else {
                Ok((request.watch_id, wanted))
            };
        }
        while self.watches.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        let id = self.next_id;
        self.next_id += 1;
        Ok((id, wanted))
    }

    fn refuse(&mut self, cancel_reason: String) {
        let head = self.head(NO_WATCH, self.face.store.revision());
        self.send(&pb::WatchResponse { created: true, canceled: true, cancel_reason, ..head });
    }

    /// The end of a watch that is not the client's doing.
    fn send_end(&mut self, id: i64, error: &WatchError) {
        let head = self.head(id, self.face.store.revision());
        let response = match error {
            WatchError::Compacted { floor } => {
                pb::WatchResponse { canceled: true, compact_revision: floor.0, ..head }
            }
            other => {
                let cancel_reason = refusal::of_watch(other).message().to_owned();
                pb::WatchResponse { canceled: true, cancel_reason, ..head }
            }
        };
        self.send(&response);
    }

    fn remove(&mut self, id: i64) -> bool {
        match self.watches.remove(&id) {
            Some(watching) => {
                self.shapes.remove(&watching.shape);
                true
            }
            None => false,
        }
    }

    /// Makes responses of what the watches have to read, up to a bound.
    fn drain(&mut self) {
        // Before the mailbox: what is announced by now is in it.
        let announced = self.face.store.core().hub.announced();
        self.ready.extend(self.mailbox.take());
        while self.response_bytes < READY_BYTES_MAX {
            let Some(id) = self.ready.pop_front() else { break };
            self.read(id);
        }
        self.looked = None;
        if !self.responses.is_empty() {
            self.joined.took(self.face.told());
        }
        if self.ready.is_empty() {
            self.shapes.forget();
            if self.histories.is_empty() {
                self.send_progress(announced);
            }
        }
    }

    fn read(&mut self, id: i64) {
        let Some(watching) = self.watches.get_mut(&id) else { return };
        if watching.reading {
            return;
        }
        let Some(span) = watching.cursor.gather() else { return };
        let began = self.face.config.tracer.as_ref().map(|_traced| Instant::now());
        // Most often the watch before this one had the same to read.
        let look = match self.looked.take() {
            Some((looked, items, next)) if looked == span && watching.cursor.is_served_by(&items) => {
                Look::Recent { items, next }
            }
            _ => watching.cursor.look(span),
        };
        match look {
            Look::Nothing => watching.cursor.advance(span, span.last.next()),
            Look::Recent { items, next } => {
                let encoded = self.shapes.encode(&watching.shape, watching.cursor.request(), &items, next);
                if let (Some(tracer), Some(began)) = (&self.face.config.tracer, began) {
                    let told = items.iter().take_while(|item| item.revision < encoded.next);
                    let request = watching.cursor.request();
                    for item in told.filter(|item| concerns(item, request).next().is_some()) {
                        traced::delivered(tracer, item.revision, began);
                    }
                }
                self.looked = Some((span, items, next));
                watching.cursor.advance(span, encoded.next);
                watching.cursor.delivered(encoded.next);
                let catches_up = watching.catches_up;
                if encoded.next <= span.last {
                    self.ready.push_back(id);
                } else {
                    watching.catches_up = false;
                }
                if let Some(last) = encoded.last {
                    let newest = if catches_up { self.face.store.core().hub.announced() } else { last };
                    self.send_events(id, last.max(newest), &encoded.events);
                }
            }
            Look::Old(request) => {
                watching.reading = true;
                let generation = watching.generation;
                let core = Arc::clone(self.face.store.core());
                self.histories.push(Box::pin(async move {
                    let tables = Arc::clone(&core.tables);
                    let page = core.pool.run(move || tables.history(&request)).await;
                    (id, generation, page.map(|page| page.map_err(|error| error.to_string())))
                }));
            }
        }
    }

    fn take_history(&mut self, id: i64, generation: u64, page: Option<Result<HistoryPage, String>>) {
        let Some(watching) = self.watches.get_mut(&id).filter(|watching| watching.generation == generation)
        else {
            return;
        };
        watching.reading = false;
        let error = match page {
            Some(Ok(HistoryPage::Found { batches, next })) => {
                if let Some(span) = watching.cursor.gather() {
                    watching.cursor.advance(span, next);
                }
                watching.cursor.delivered(next);
                self.ready.push_back(id);
                return self.send_batches(id, &batches);
            }
            Some(Ok(HistoryPage::Compacted { floor })) => WatchError::Compacted { floor },
            Some(Err(error)) => WatchError::Engine(error),
            None => WatchError::Closed,
        };
        self.remove(id);
        self.send_end(id, &error);
    }

    fn send_batches(&mut self, id: i64, batches: &[WatchBatch]) {
        let Some(last) = batches.last().map(|batch| batch.revision) else { return };
        let mut writer = EventWriter::default();
        for event in batches.iter().flat_map(|batch| &batch.events) {
            writer.push_event(event);
        }
        // What is read from the tables is the past: as in etcd, the header names the present.
        let newest = self.face.store.core().hub.announced();
        self.send_events(id, last.max(newest), &writer.finish());
    }

    /// `revision` is the header's: that of the last event, or the newest one for a watch that catches up.
    fn send_events(&mut self, id: i64, revision: Revision, events: &EncodedEvents) {
        let header = self.face.header(revision).unwrap_or_default();
        let mut fragment = false;
        if let Some(watching) = self.watches.get_mut(&id) {
            watching.progress = watching.progress.map(|_| false);
            fragment = watching.fragment;
        }
        if !fragment {
            return self.push(Response { head: Head::new(&header, id, false), events: events.bytes.clone() });
        }
        let bytes_max = self.face.store.core().limits.request_bytes_max;
        for piece in encode::fragments(&header, id, events, bytes_max) {
            self.push(piece);
        }
    }

    /// Every watch has delivered everything up to `announced`: that may be told.
    fn send_progress(&mut self, announced: Revision) {
        let reached =
            |watching: &Watching| watching.cursor.request().start.is_none_or(|start| start <= announced);
        if self.progress_asked.is_some_and(|asked| asked <= announced) {
            self.progress_asked = None;
            if !self.watches.is_empty() && self.watches.values().all(reached) {
                let response = self.head(NO_WATCH, announced);
                self.send(&response);
            }
        }
        if !std::mem::take(&mut self.progress_due) {
            return;
        }
        let mut due = Vec::new();
        for (id, watching) in &mut self.watches {
            let Some(quiet) = watching.progress.replace(true) else {
                watching.progress = None;
                continue;
            };
            if quiet && watching.cursor.request().start.is_none_or(|start| start <= announced) {
                due.push(*id);
            }
        }
        for id in due {
            let response = self.head(id, announced);
            self.send(&response);
        }
    }
}
