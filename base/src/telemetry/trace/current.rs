//! The span that the present task works in, so that no function has to hand it on.

use std::borrow::Cow;
use std::sync::Arc;

use time::OffsetDateTime;
use tokio::time::Instant;

use super::{Attributes, Kind, Span, SpanContext, SpanId, Tracer};

/// Where a span stands: its tracer, and how its trace counts time.
#[derive(Debug, Clone)]
pub struct Place(Arc<Standing>);

#[derive(Debug)]
struct Standing {
    tracer: Tracer,
    context: SpanContext,
    /// One moment by both clocks: so spans of a trace fit together, however the wall clock is set meanwhile.
    anchor: (Instant, OffsetDateTime),
}

impl Place {
    pub(super) fn new(tracer: Tracer, context: SpanContext, anchor: (Instant, OffsetDateTime)) -> Self {
        Self(Arc::new(Standing { tracer, context, anchor }))
    }

    /// Which span of which trace.
    pub fn context(&self) -> &SpanContext {
        &self.0.context
    }

    /// Where it was made.
    pub fn tracer(&self) -> &Tracer {
        &self.0.tracer
    }

    /// A moment by the wall clock.
    pub(super) fn wall(&self, moment: Instant) -> OffsetDateTime {
        let (instant, wall) = self.0.anchor;
        match moment.checked_duration_since(instant) {
            Some(after) => wall + after,
            None => wall - instant.saturating_duration_since(moment),
        }
    }

    /// A span below this one, that begins now. None if the trace is not recorded.
    pub fn child(&self, name: impl Into<Cow<'static, str>>, kind: Kind) -> Span {
        if !self.0.context.sampled {
            return Span::none();
        }
        self.begin(name.into(), kind, Instant::now())
    }

    /// A span below this one that is over already.
    pub fn past(
        &self,
        name: &'static str,
        kind: Kind,
        (began, ended): (Instant, Instant),
        attributes: Attributes,
    ) {
        if self.0.context.sampled {
            let mut span = self.begin(name.into(), kind, began);
            for (name, value) in attributes {
                span.set(name, value);
            }
            span.end_at(ended);
        }
    }

    fn begin(&self, name: Cow<'static, str>, kind: Kind, began: Instant) -> Span {
        let Standing { tracer, context, anchor } = &*self.0;
        let own = SpanContext { span: SpanId::random(), ..context.clone() };
        let place = Self::new(tracer.clone(), own, *anchor);
        Span::begin(place, Some(context.span), name, kind, began)
    }
}

tokio::task_local! {
    static CURRENT: Place;
}

/// Runs `work` below a span, which is given back for more to be said of it.
pub async fn within<F: Future>(span: Span, work: F) -> (Span, F::Output) {
    match span.place() {
        Some(place) => {
            let output = below(place, work).await;
            (span, output)
        }
        None => (span, work.await),
    }
}

/// Runs `work` below the span that stands at `place`.
pub async fn below<F: Future>(place: Place, work: F) -> F::Output {
    CURRENT.scope(place, work).await
}

/// Where the present task works, if anybody traces it.
pub fn current() -> Option<Place> {
    CURRENT.try_with(Place::clone).ok()
}

/// What a request to somebody else says of where it comes from: the headers `traceparent` and `tracestate` (often empty).
pub fn outgoing() -> Option<(String, String)> {
    let header = |place: &Place| (place.context().parent_header(), place.context().state.clone());
    CURRENT.try_with(header).ok()
}

/// A span below the present one that begins now; no span where there is none, or where it is not recorded.
pub fn child(name: &'static str) -> Span {
    CURRENT.try_with(|place| place.child(name, Kind::Internal)).unwrap_or_default()
}
