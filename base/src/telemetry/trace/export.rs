//! The way out: spans wait in a queue, go in batches, and what cannot be sent is counted.

use std::pin::Pin;
use std::time::Duration;

use prometheus::IntCounter;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Record;

/// How long one batch may take, and the last ones of a process that ends: OpenTelemetry's default for the first.
const EXPORT_MAX: Duration = Duration::from_secs(30);
const LAST_MAX: Duration = Duration::from_secs(3);

/// Whose spans these are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// `service.name`.
    pub service: String,
    /// `service.instance.id`.
    pub instance: Option<String>,
}

/// Spans that were not taken.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct ExportError {
    /// How many of the batch.
    pub spans: usize,
    /// What the collector or the connection says.
    pub why: String,
}

/// Sends spans somewhere.
pub trait Export: Send + Sync + 'static {
    /// Sends a batch.
    ///
    /// # Errors
    /// [`ExportError`]: these spans are lost.
    fn export<'a>(
        &'a self,
        source: &'a Source,
        spans: Vec<Record>,
    ) -> Pin<Box<dyn Future<Output = Result<(), ExportError>> + Send + 'a>>;
}

/// What became of spans.
#[derive(Debug, Clone)]
pub(super) struct Fates {
    pub(super) exported: IntCounter,
    pub(super) failed: IntCounter,
    pub(super) dropped: IntCounter,
}

/// Sends what the queue brings.
pub(super) struct Exporting {
    pub(super) queue: mpsc::Receiver<Record>,
    pub(super) source: Source,
    pub(super) to: Box<dyn Export>,
    pub(super) fates: Fates,
    pub(super) batch_spans: usize,
    /// The first span of a batch waits so long for others.
    pub(super) batch_wait: Duration,
}

impl Exporting {
    /// Sends batches until `stop`, then what is left.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut well = true;
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = gather(&mut self.queue, &mut batch, self.batch_spans, self.batch_wait) => {
                    if batch.is_empty() {
                        break; // every tracer is gone
                    }
                    let sent = self.send(std::mem::take(&mut batch), EXPORT_MAX);
                    tokio::select! {
                        biased;
                        // What is on its way is lost with the process, or with a collector that does not answer.
                        () = stop.cancelled() => break,
                        sent = sent => Self::tell(sent, &mut well),
                    }
                }
            }
        }
        self.queue.close();
        let deadline = Instant::now() + LAST_MAX;
        loop {
            while batch.len() < self.batch_spans
                && let Ok(span) = self.queue.try_recv()
            {
                batch.push(span);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if batch.is_empty() || left.is_zero() {
                break;
            }
            let sent = self.send(std::mem::take(&mut batch), left).await;
            Self::tell(sent, &mut well);
        }
    }

    async fn send(&self, batch: Vec<Record>, within: Duration) -> Result<(), ExportError> {
        let spans = batch.len();
        let sent = timeout(within, self.to.export(&self.source, batch)).await;
        let result = match sent {
            Ok(result) => result,
            Err(_elapsed) => Err(ExportError { spans, why: "no answer in time".to_owned() }),
        };
        let lost = result.as_ref().err().map_or(0, |error| error.spans.min(spans));
        self.fates.failed.inc_by(lost as u64);
        self.fates.exported.inc_by((spans - lost) as u64);
        result
    }

    /// Says it when the collector begins to fail, and when it is well again; not for every batch.
    fn tell(sent: Result<(), ExportError>, well: &mut bool) {
        match sent {
            Ok(()) if *well => {}
            Ok(()) => {
                info!("the collector takes spans again");
                *well = true;
            }
            Err(error) if *well => {
                warn!(%error, "the collector does not take spans; they are counted and forgotten until it does");
                *well = false;
            }
            Err(_still) => {}
        }
    }
}

/// Waits for a batch: full, or as old as `wait`. Empty when no more will come. What is gathered stays in `batch` if this is
/// dropped.
async fn gather(queue: &mut mpsc::Receiver<Record>, batch: &mut Vec<Record>, spans: usize, wait: Duration) {
    if batch.is_empty() {
        let Some(first) = queue.recv().await else { return };
        batch.push(first);
    }
    let full = async {
        while batch.len() < spans {
            let Some(span) = queue.recv().await else { return };
            batch.push(span);
        }
    };
    // Late is as good as full.
    let _full_or_late = timeout(wait, full).await;
}
