//! The audit webhook: events in batches, behind the requests.
//!
//! A request never waits for it. The queue is bounded: events that find no room are counted and dropped, as upstream.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use mainstay_base::lifecycle::{Backoff, Clock, Tasks};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::metrics::AuditMetrics;
use crate::outbound::{Caller, Remote};

/// Attempts to deliver one batch.
const ATTEMPTS_MAX: u32 = 5;
/// How long one attempt may take, and a wait between two.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long events are still delivered when the server ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// The bounds of the queue and of a batch; the defaults are upstream's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchBounds {
    /// Events that wait.
    pub buffer_size: usize,
    /// Events in one batch.
    pub size_max: usize,
    /// Bytes of the events in one batch; any number where it is none.
    pub bytes_max: Option<usize>,
    /// How long an event waits for others.
    pub wait_max: Duration,
    /// The wait after the first failed attempt.
    pub initial_backoff: Duration,
}

impl Default for BatchBounds {
    fn default() -> Self {
        Self {
            buffer_size: 10_000,
            size_max: 400,
            bytes_max: None,
            wait_max: Duration::from_secs(30),
            initial_backoff: Duration::from_secs(10),
        }
    }
}

/// The way to the task that delivers.
pub(super) struct WebhookWriter {
    events: mpsc::Sender<Bytes>,
    metrics: AuditMetrics,
}

impl WebhookWriter {
    pub(super) fn start(
        remote: Remote,
        bounds: BatchBounds,
        metrics: AuditMetrics,
        clock: Arc<dyn Clock>,
        tasks: &Tasks,
    ) -> Self {
        let (events, queue) = mpsc::channel(bounds.buffer_size.max(1));
        let caller = Caller::new(remote, tasks.clone());
        let delivery = Delivery { caller, bounds, metrics: metrics.clone(), stop: tasks.token(), clock };
        tasks.spawn("audit-webhook", delivery.run(queue));
        Self { events, metrics }
    }

    pub(super) fn tell(&self, event: &[u8]) {
        if self.events.try_send(Bytes::copy_from_slice(event)).is_err() {
            self.metrics.errors.with_label_values(&["webhook"]).inc();
        }
    }
}

struct Delivery {
    caller: Caller,
    bounds: BatchBounds,
    metrics: AuditMetrics,
    stop: CancellationToken,
    clock: Arc<dyn Clock>,
}

impl Delivery {
    async fn run(self, mut queue: mpsc::Receiver<Bytes>) {
        while let Some(batch) = self.gather(&mut queue).await {
            self.deliver_parts(&batch).await;
        }
        let flush = async {
            let mut batch = Vec::new();
            while queue.try_recv().map(|event| batch.push(event)).is_ok() {}
            self.deliver_parts(&batch).await;
        };
        if tokio::time::timeout(FLUSH_TIMEOUT, flush).await.is_err() {
            warn!("the audit webhook did not take the last events in time");
        }
    }

    /// The next batch; none when the server ends.
    async fn gather(&self, queue: &mut mpsc::Receiver<Bytes>) -> Option<Vec<Bytes>> {
        let mut batch = Vec::new();
        let mut due: Option<Instant> = None;
        loop {
            let wait = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Some(batch).filter(|batch| !batch.is_empty()),
                event = queue.recv() => {
                    batch.push(event?);
                    due.get_or_insert_with(|| self.clock.now() + self.bounds.wait_max);
                    if batch.len() >= self.bounds.size_max {
                        return Some(batch);
                    }
                }
                () = wait => return Some(batch),
            }
        }
    }

    /// Delivers a batch in parts that are not too large.
    async fn deliver_parts(&self, mut batch: &[Bytes]) {
        while !batch.is_empty() {
            let (part, rest) = batch.split_at(fitting(batch, self.bounds.bytes_max));
            self.deliver(part).await;
            batch = rest;
        }
    }

    async fn deliver(&self, batch: &[Bytes]) {
        let body = list_of(batch);
        let mut backoff = Backoff::new(self.bounds.initial_backoff, ATTEMPT_TIMEOUT);
        let mut attempt = 1;
        loop {
            let posted = self.caller.post("", body.clone(), ATTEMPT_TIMEOUT).await;
            let why = match posted {
                Ok((code, _)) if (200..300).contains(&code) => return,
                Ok((code, _)) => format!("it answered {code}"),
                Err(error) => error.to_string(),
            };
            if attempt == ATTEMPTS_MAX || self.stop.is_cancelled() {
                self.metrics.errors.with_label_values(&["webhook"]).inc_by(batch.len() as u64);
                warn!(events = batch.len(), %why, "audit events are lost: the webhook does not take them");
                return;
            }
            attempt += 1;
            tokio::select! {
                biased;
                () = self.stop.cancelled() => {}
                () = backoff.wait() => {}
            }
        }
    }
}

/// How many events of a batch, one at least, are together not too large.
fn fitting(batch: &[Bytes], bytes_max: Option<usize>) -> usize {
    let Some(bytes_max) = bytes_max else { return batch.len() };
    let mut sum = 0;
    let fits = |event: &&Bytes| -> bool {
        sum += event.len();
        sum <= bytes_max
    };
    batch.iter().take_while(fits).count().max(1)
}

/// An `EventList` of events that are JSON already.
fn list_of(batch: &[Bytes]) -> Bytes {
    let mut body = BytesMut::with_capacity(batch.iter().map(|event| event.len() + 1).sum::<usize>() + 80);
    body.put_slice(br#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":["#);
    for (at, event) in batch.iter().enumerate() {
        if at > 0 {
            body.put_u8(b',');
        }
        body.put_slice(event);
    }
    body.put_slice(b"]}");
    body.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_cut_where_it_becomes_too_large() {
        let events: Vec<Bytes> = [40, 40, 40, 200].map(|length| Bytes::from(vec![b' '; length])).to_vec();
        assert_eq!(fitting(&events, None), 4);
        assert_eq!(fitting(&events, Some(100)), 2);
        assert_eq!(fitting(&events[3..], Some(100)), 1, "one goes, however large");
    }
}
