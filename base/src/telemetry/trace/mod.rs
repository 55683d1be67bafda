//! Traces: what became of one request, as spans that know their parents, for OpenTelemetry's tools.
//!
//! Off, nothing is made: whoever would begin a span finds no [`Tracer`], or no [`current`] place, and goes on. On, a request
//! that is sampled pays for its own spans, and no request ever waits for the collector: spans wait in a queue with a bound,
//! and what has no room is dropped and counted.

mod attributes;
mod causes;
mod context;
mod current;
mod export;
mod sampler;
mod span;
#[cfg(test)]
mod tests;
mod tracer;

pub use attributes::{Attributes, Datum};
pub use causes::{Causes, Delivery};
pub use context::{SpanContext, SpanId, TraceId};
pub use current::{Place, below, child, current, outgoing, within};
pub use export::{Export, ExportError, Source};
pub use sampler::Sampler;
pub use span::{Kind, Record, Span};
pub use tracer::{Incoming, Tracer, TracerConfig};
