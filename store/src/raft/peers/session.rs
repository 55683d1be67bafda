//! An open link that requests are sent on. Requests are sent in the order in which they were started; answers come in any order.
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::CallError;
use crate::api::{Link, LinkReceiver, LinkSender};
use crate::metering::Traffic;
use crate::platform::RandomHash;
use crate::raft::wire::{Reply, Request};

/// So many frames wait to be sent; callers wait beyond that.
const QUEUE_MAX: usize = 1024;
/// So many frames are sent with one call to the transport.
const BATCH_MAX: usize = 256;

/// When another member last answered, on whichever link.
pub(crate) type Heard = Arc<Mutex<Option<Instant>>>;

/// A link with its two loops. It ends when it breaks, or when nobody holds it any more.
#[derive(Debug)]
pub(crate) struct Session {
    /// What the other member understands.
    version: u16,
    queue: mpsc::Sender<Bytes>,
    pending: Arc<Pending>,
    ended: CancellationToken,
}

#[derive(Debug)]
struct Pending {
    table: Mutex<Table>,
    /// When an answer came on any link to this member.
    peer_heard: Heard,
}

#[derive(Debug)]
struct Table {
    last: u64,
    /// When an answer came, whichever.
    heard: Instant,
    ended: bool,
    waiting: HashMap<u64, oneshot::Sender<Reply>, RandomHash>,
}

impl Session {
    /// Starts the loops of a link whose greeting is done, in this version of the protocol.
    pub(crate) fn start(
        (link, version): (Link, u16),
        traffic: &Arc<Traffic>,
        peer_heard: &Heard,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Self {
        let (queue, frames) = mpsc::channel(QUEUE_MAX);
        let pending = Arc::new(Pending::new(Arc::clone(peer_heard)));
        let ended = stop.child_token();
        tasks.spawn(write(link.sender, frames, Arc::clone(traffic), ended.clone()));
        tasks.spawn(read(link.receiver, Arc::clone(&pending), Arc::clone(traffic), ended.clone()));
        Self { version, queue, pending, ended }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.is_cancelled()
    }

    pub(crate) fn end(&self) {
        self.ended.cancel();
    }

    /// When the other member last answered on this link; when it was opened, if it has not yet.
    pub(crate) fn heard(&self) -> Instant {
        self.pending.table.lock().heard
    }

    /// Whether an answer is waited for.
    pub(crate) fn is_in_use(&self) -> bool {
        !self.pending.table.lock().waiting.is_empty()
    }

    pub(crate) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Puts a request on its way. The answer may never come: whoever waits for it has a deadline.
    pub(crate) async fn begin(&self, request: &Request) -> Result<Answering, CallError> {
        let (number, answer) = self.pending.add().ok_or(CallError::Ended)?;
        let answering = Answering { number, answer, pending: Arc::clone(&self.pending) };
        self.queue
            .send(request.encode(self.version, number).into())
            .await
            .map_err(|_ended| CallError::Ended)?;
        Ok(answering)
    }

    /// Asks and waits for the answer.
    pub(crate) async fn call(&self, request: &Request) -> Result<Reply, CallError> {
        self.begin(request).await?.await
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

/// An answer to come. Dropping it forgets the request.
#[derive(Debug)]
pub(crate) struct Answering {
    number: u64,
    answer: oneshot::Receiver<Reply>,
    pending: Arc<Pending>,
}

impl Future for Answering {
    type Output = Result<Reply, CallError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answer).poll(context).map(|answer| answer.map_err(|_dropped| CallError::Ended))
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.pending.table.lock().waiting.remove(&self.number);
    }
}

impl Pending {
    fn new(peer_heard: Heard) -> Self {
        let (heard, waiting) = (Instant::now(), HashMap::default());
        Self { table: Mutex::new(Table { last: 0, heard, ended: false, waiting }), peer_heard }
    }

    /// A number for a request; none if the link has ended.
    fn add(&self) -> Option<(u64, oneshot::Receiver<Reply>)> {
        let (send, answer) = oneshot::channel();
        let mut table = self.table.lock();
        if table.ended {
            return None;
        }
        table.last += 1;
        let number = table.last;
        table.waiting.insert(number, send);
        Some((number, answer))
    }

    fn answer(&self, number: u64, reply: Reply) {
        let now = Instant::now();
        *self.peer_heard.lock() = Some(now);
        let mut table = self.table.lock();
        table.heard = now;
        let waiting = table.waiting.remove(&number);
        drop(table);
        if let Some(waiting) = waiting {
            // Whoever gave up just now needs no answer.
            drop(waiting.send(reply));
        }
    }

    fn end(&self) {
        let mut table = self.table.lock();
        table.ended = true;
        table.waiting.clear();
    }
}

async fn write(
    mut sender: Box<dyn LinkSender>,
    mut frames: mpsc::Receiver<Bytes>,
    traffic: Arc<Traffic>,
    ended: CancellationToken,
) {
    let work = async {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        while frames.recv_many(&mut batch, BATCH_MAX).await > 0 {
            let bytes = batch.iter().map(Bytes::len).sum();
            if let Err(error) = sender.send(&mut batch).await {
                traffic.send_failed();
                tracing::debug!(%error, "a link to another member broke");
                return;
            }
            traffic.sent(bytes);
        }
    };
    tokio::select! {
        biased;
        () = ended.cancelled() => {} // half a frame may have been sent: the other side drops it with the link
        () = work => ended.cancel(),
    }
}

async fn read(
    mut receiver: Box<dyn LinkReceiver>,
    pending: Arc<Pending>,
    traffic: Arc<Traffic>,
    ended: CancellationToken,
) {
    let work = async {
        loop {
            match receiver.receive().await {
                Ok(Some(frame)) => match Reply::decode(&frame) {
                    Ok((number, reply)) => {
                        traffic.received(frame.len());
                        pending.answer(number, reply);
                    }
                    Err(error) => {
                        traffic.receive_failed();
                        tracing::warn!(%error, "another member's answer cannot be read");
                        return;
                    }
                },
                Ok(None) => return,
                Err(error) => {
                    traffic.receive_failed();
                    tracing::debug!(%error, "a link to another member broke");
                    return;
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = ended.cancelled() => {}
        () = work => ended.cancel(),
    }
    pending.end();
}
