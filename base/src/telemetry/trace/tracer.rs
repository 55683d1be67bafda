//! [`Tracer`]: begins traces, and has their spans exported.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus::{IntCounterVec, Opts, Registry};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::export::{Exporting, Fates};
use super::{Causes, Export, Kind, Place, Record, Sampler, Source, Span, SpanContext, SpanId, TraceId};
use crate::lifecycle::{Clock, Tasks};

/// How traces are made and sent. The defaults of the bounds are OpenTelemetry's.
#[derive(Debug, Clone)]
pub struct TracerConfig {
    /// Whose spans these are.
    pub source: Source,
    /// Of traces that begin here, which are recorded.
    pub sampler: Sampler,
    /// Spans that wait to be sent; more are dropped.
    pub queue_spans: usize,
    /// Spans that go at once.
    pub batch_spans: usize,
    /// How long the first span of a batch waits for others.
    pub batch_wait: Duration,
}

impl TracerConfig {
    /// For spans of `source`, with OpenTelemetry's bounds.
    pub fn new(source: Source, sampler: Sampler) -> Self {
        Self { source, sampler, queue_spans: 2048, batch_spans: 512, batch_wait: Duration::from_secs(5) }
    }
}

/// What a request says of where it comes from.
#[derive(Debug, Clone, Default)]
pub struct Incoming {
    /// The span of the sender, if it names a good one.
    pub remote: Option<SpanContext>,
    /// Whether its word counts: then the trace goes on here, recorded if it was there. Otherwise a new one begins, which only
    /// tells of the other.
    pub trusted: bool,
}

/// Makes traces. Clones are the same one.
#[derive(Clone)]
pub struct Tracer(Arc<Inner>);

struct Inner {
    sampler: Sampler,
    queue: mpsc::Sender<Record>,
    fates: Fates,
    causes: Causes,
    clock: Arc<dyn Clock>,
    spans: IntCounterVec,
}

impl Tracer {
    /// A tracer whose spans go to `export`, by a task of `tasks`: when that group ends, what waits is sent.
    ///
    /// # Errors
    /// What counts the spans cannot be made.
    pub fn start(
        config: TracerConfig,
        export: Box<dyn Export>,
        clock: Arc<dyn Clock>,
        tasks: &Tasks,
    ) -> Result<Self, prometheus::Error> {
        let text = "Spans of traces by what became of them: exported, failed (the collector did not take them) or dropped (the queue was full).";
        let spans = IntCounterVec::new(Opts::new("mainstay_trace_spans_total", text), &["outcome"])?;
        let count = |outcome| spans.with_label_values(&[outcome]);
        let fates = Fates { exported: count("exported"), failed: count("failed"), dropped: count("dropped") };
        let (queue, waiting) = mpsc::channel(config.queue_spans.max(1));
        let exporting = Exporting {
            queue: waiting,
            source: config.source,
            to: export,
            fates: fates.clone(),
            batch_spans: config.batch_spans.max(1),
            batch_wait: config.batch_wait,
        };
        tasks.spawn("trace export", exporting.run(tasks.token()));
        let (sampler, causes) = (config.sampler, Causes::default());
        Ok(Self(Arc::new(Inner { sampler, queue, fates, causes, clock, spans })))
    }

    /// Has what became of spans counted in `metrics`: `mainstay_trace_spans_total`.
    ///
    /// # Errors
    /// The name is taken.
    pub fn register(&self, metrics: &Registry) -> Result<(), prometheus::Error> {
        metrics.register(Box::new(self.0.spans.clone()))
    }

    /// The span of a request that is answered here. It began at `began`.
    pub fn request(&self, incoming: Incoming, name: impl Into<Cow<'static, str>>, began: Instant) -> Span {
        let anchor = (self.0.clock.now(), self.0.clock.wall());
        let (context, parent, other) = match incoming {
            Incoming { remote: Some(remote), trusted: true } => {
                (SpanContext { span: SpanId::random(), ..remote.clone() }, Some(remote.span), None)
            }
            Incoming { remote, .. } => {
                let trace = TraceId::random();
                let sampled = self.0.sampler.takes(trace);
                let state = String::new();
                (SpanContext { trace, span: SpanId::random(), sampled, state }, None, remote)
            }
        };
        let place = Place::new(self.clone(), context, anchor);
        let mut span = Span::begin(place, parent, name.into(), Kind::Server, began);
        if let Some(other) = other {
            span.link(other);
        }
        span
    }

    /// A place at a span of another process, for spans below it that were made here. Whoever told of it must be trusted.
    pub fn joined(&self, remote: SpanContext) -> Place {
        Place::new(self.clone(), remote, (self.0.clock.now(), self.0.clock.wall()))
    }

    /// Which writes led to which events.
    pub fn causes(&self) -> &Causes {
        &self.0.causes
    }

    pub(super) fn export(&self, record: Record) {
        if self.0.queue.try_send(record).is_err() {
            self.0.fates.dropped.inc();
        }
    }
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracer").field("sampler", &self.0.sampler).finish_non_exhaustive()
    }
}
