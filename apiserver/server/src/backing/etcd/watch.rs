//! [`EtcdWatch`]: one stream with every change below our prefix. It breaks and is opened again, perhaps on another server,
//! where it ended: its owner notices nothing but the delay.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use mainstay_proto_wire::etcd::etcdserverpb as pb;
use mainstay_store::{Revision, WatchBatch, WatchError};
use pb::maintenance_client::MaintenanceClient;
use pb::watch_client::WatchClient;
use pb::watch_request::RequestUnion;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tonic::metadata::MetadataValue;
use tonic::{Request, Status, Streaming};
use tracing::{debug, info, warn};

use super::super::BackingError;
use super::changes::{Told, progress_can_be_asked, read};
use super::client::{EtcdClient, everything};
use super::endpoints::Server;

/// How long a server may take to open a watch.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// The pauses between attempts: the first, and the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// A server that was asked for progress is not asked again for so long.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// Requests that wait to be sent.
const REQUESTS_MAX: usize = 4;
/// As everywhere: a message may be as large as protobuf allows.
const MESSAGE_BYTES_MAX: usize = i32::MAX as usize;

/// The changes of a remote store.
#[derive(Debug)]
pub struct EtcdWatch {
    client: EtcdClient,
    /// The first revision that was not delivered yet.
    next: Revision,
    /// Delivered up to here, or known to hold nothing for us.
    told: Revision,
    open: Option<Open>,
    found: VecDeque<WatchBatch>,
    pause: Duration,
}

#[derive(Debug)]
struct Open {
    server: Server,
    requests: mpsc::Sender<pb::WatchRequest>,
    responses: Streaming<pb::WatchResponse>,
    /// Whether progress may be asked for; a server that tells it too early sends us every change of everybody instead.
    asks_progress: bool,
    asked_at: Option<Instant>,
}

/// What happened on an open stream.
enum Happened {
    Message(Result<Option<pb::WatchResponse>, Status>),
    ProgressWanted,
}

impl EtcdWatch {
    pub(super) fn new(client: EtcdClient, start: Revision) -> Self {
        let told = start.previous();
        Self { client, next: start, told, open: None, found: VecDeque::new(), pause: PAUSE_FIRST }
    }

    /// As [`Following::next`](super::super::Following::next). Servers that do not answer are tried for ever.
    pub(in super::super) async fn next(&mut self) -> Result<WatchBatch, BackingError> {
        loop {
            if let Some(batch) = self.found.pop_front() {
                self.next = self.next.max(batch.revision.next());
                self.told = self.told.max(batch.revision);
                return Ok(batch);
            }
            let Some(open) = &mut self.open else {
                self.reopen().await;
                continue;
            };
            let wanted = &self.client.inner.progress_wanted;
            let happened = tokio::select! {
                biased;
                message = open.responses.message() => Happened::Message(message),
                () = wanted.notified(), if open.asks_progress => Happened::ProgressWanted,
            };
            match happened {
                Happened::ProgressWanted => open.ask_progress(),
                Happened::Message(Ok(Some(response))) => self.take(response)?,
                Happened::Message(Ok(None)) => self.lose("the server ended the watch"),
                Happened::Message(Err(status)) => self.lose(status.message()),
            }
        }
    }

    fn take(&mut self, response: pb::WatchResponse) -> Result<(), BackingError> {
        match read(&self.client.inner.keys, response) {
            Told::Created => {}
            Told::Changes(batches) => {
                self.pause = PAUSE_FIRST;
                if let Some(open) = &mut self.open {
                    open.asked_at = None;
                }
                // A server that lags behind the one before tells what is known already.
                let told = self.told;
                self.found.extend(batches.into_iter().filter(|batch| batch.revision > told));
            }
            Told::Compacted(floor) => return Err(WatchError::Compacted { floor }.into()),
            Told::Ended(reason) if reason.contains("permission denied") => {
                return Err(BackingError::Refused(reason));
            }
            Told::Ended(reason) => self.lose(&reason),
        }
        Ok(())
    }

    /// The stream is gone; the next one may be another server's.
    fn lose(&mut self, why: &str) {
        if let Some(open) = self.open.take() {
            warn!(server = %open.server.url, why, from = %self.next, "the watch of the store broke; it is opened again");
            self.client.inner.endpoints.leave(&open.server);
        }
    }

    /// One attempt, after a pause that grows while attempts fail.
    async fn reopen(&mut self) {
        let Some(server) = self.client.inner.endpoints.preferred() else { return };
        match timeout(OPEN_TIMEOUT, self.open_on(server.clone())).await {
            Ok(Ok(open)) => {
                info!(server = %open.server.url, from = %self.next, "following the store");
                self.open = Some(open);
                return;
            }
            Ok(Err(status)) => debug!(server = %server.url, error = %status, "the watch could not be opened"),
            Err(_elapsed) => debug!(server = %server.url, "the watch was not opened in time"),
        }
        self.client.inner.endpoints.leave(&server);
        let pause = self.pause;
        self.pause = (pause * 2).min(PAUSE_MAX);
        sleep(pause).await;
    }

    async fn open_on(&self, server: Server) -> Result<Open, Status> {
        let status = MaintenanceClient::new(server.channel.clone()).status(pb::StatusRequest {}).await?;
        let asks_progress = progress_can_be_asked(&status.get_ref().version);
        let (key, range_end) = if asks_progress {
            everything(&self.client.inner.keys)
        } else {
            (Bytes::from_static(b"\0"), Bytes::from_static(b"\0"))
        };
        let create = pb::WatchCreateRequest {
            key,
            range_end,
            start_revision: self.next.0,
            progress_notify: true,
            ..pb::WatchCreateRequest::default()
        };
        let (requests, receiver) = mpsc::channel(REQUESTS_MAX);
        let create = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        // The channel is new and has room.
        requests.try_send(create).map_err(|full| Status::internal(full.to_string()))?;
        let outgoing = stream::unfold(receiver, |mut receiver: mpsc::Receiver<_>| async move {
            receiver.recv().await.map(|request| (request, receiver))
        });
        let mut request = Request::new(outgoing);
        // A member without a leader would be silent; with this it says so and ends.
        request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
        let mut client =
            WatchClient::new(server.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let responses = client.watch(request).await?.into_inner();
        Ok(Open { server, requests, responses, asks_progress, asked_at: None })
    }
}

impl Open {
    /// Asks the server how far it is, unless it was asked just now.
    fn ask_progress(&mut self) {
        let now = Instant::now();
        if self.asked_at.is_some_and(|asked| now < asked + ASK_AGAIN) {
            return;
        }
        let ask = RequestUnion::ProgressRequest(pb::WatchProgressRequest {});
        // Where the queue is full or closed, the stream is about to break, and whoever waits asks again.
        if self.requests.try_send(pb::WatchRequest { request_union: Some(ask) }).is_ok() {
            self.asked_at = Some(now);
        }
    }
}
