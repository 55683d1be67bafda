//! Writes that other servers sent to this one's log: their ways through it are part of the traces that they belong to.

use mainstay_base::telemetry::trace::{Kind, SpanContext, Tracer};
use mainstay_store::ForwardedWrites;

/// Makes spans of such ways. The note is the `traceparent` of the span that a way is part of; members believe each other.
pub(crate) fn forwarded(tracer: &Tracer) -> ForwardedWrites {
    let tracer = tracer.clone();
    ForwardedWrites::new(move |note, times| {
        let parent = std::str::from_utf8(note).ok().and_then(|note| SpanContext::parse(note, None));
        let Some(parent) = parent else { return };
        let place = tracer.joined(parent);
        for stretch in times.stretches() {
            let figures = stretch.figures.into_iter().map(|(name, value)| (name, value.into()));
            place.past(stretch.name, Kind::Internal, (stretch.began, stretch.ended), figures.collect());
        }
    })
}
