//! A span: from when to when something took, below what, and what there is to say of it.

use std::borrow::Cow;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::Instant;

use super::current::Place;
use super::{Attributes, Datum, SpanContext, SpanId};

/// Attributes and links that one span may have; more are left out.
const ATTRIBUTES_MAX: usize = 64;
const LINKS_MAX: usize = 16;

/// Who a span is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// Work inside the process.
    #[default]
    Internal,
    /// A request that is answered.
    Server,
    /// A request that is made.
    Client,
    /// A message that is sent off.
    Producer,
}

/// A span that has ended, as it is exported.
#[derive(Debug, Clone)]
pub struct Record {
    /// Which it is.
    pub context: SpanContext,
    /// The span that it is part of.
    pub parent: Option<SpanId>,
    /// What happened, from a small set of names.
    pub name: Cow<'static, str>,
    /// Who it is about.
    pub kind: Kind,
    /// When it began, by the wall clock.
    pub began: OffsetDateTime,
    /// How long it took.
    pub took: Duration,
    /// What there is to say.
    pub attributes: Attributes,
    /// Spans of other traces that it has to do with.
    pub links: Vec<SpanContext>,
    /// Why it failed, if it did.
    pub failed: Option<String>,
}

/// A span under way, or nothing at all. It ends when it is dropped.
#[derive(Debug, Default)]
#[must_use = "a span ends when it is dropped"]
pub struct Span(Option<Box<Live>>);

#[derive(Debug)]
struct Live {
    place: Place,
    began: Instant,
    record: Record,
}

impl Span {
    /// No span: all that is said to it is forgotten.
    pub fn none() -> Self {
        Self(None)
    }

    /// A span at `place`, which is its own; `parent` is what it is part of.
    pub(super) fn begin(
        place: Place,
        parent: Option<SpanId>,
        name: Cow<'static, str>,
        kind: Kind,
        began: Instant,
    ) -> Self {
        let record = Record {
            context: place.context().clone(),
            parent,
            name,
            kind,
            began: place.wall(began),
            took: Duration::ZERO,
            attributes: Vec::new(),
            links: Vec::new(),
            failed: None,
        };
        Self(Some(Box::new(Live { place, began, record })))
    }

    /// Whether what is said to it is kept: what costs something to say can be left out otherwise.
    pub fn is_recorded(&self) -> bool {
        self.0.as_ref().is_some_and(|live| live.record.context.sampled)
    }

    /// Where spans below it belong.
    pub fn place(&self) -> Option<Place> {
        self.0.as_ref().map(|live| live.place.clone())
    }

    /// Says something of it.
    pub fn set(&mut self, name: &'static str, value: impl Into<Datum>) {
        if let Some(live) = self.recorded()
            && live.record.attributes.len() < ATTRIBUTES_MAX
        {
            live.record.attributes.push((name, value.into()));
        }
    }

    /// Says that it has to do with a span elsewhere.
    pub fn link(&mut self, other: SpanContext) {
        if let Some(live) = self.recorded()
            && live.record.links.len() < LINKS_MAX
        {
            live.record.links.push(other);
        }
    }

    /// Says that it failed, and why.
    pub fn fail(&mut self, why: impl Into<String>) {
        if let Some(live) = self.recorded() {
            live.record.failed = Some(why.into());
        }
    }

    /// A span below it that is over already.
    pub fn past(&self, name: &'static str, (began, ended): (Instant, Instant), attributes: Attributes) {
        if let Some(place) = self.place() {
            place.past(name, Kind::Internal, (began, ended), attributes);
        }
    }

    fn recorded(&mut self) -> Option<&mut Live> {
        self.0.as_deref_mut().filter(|live| live.record.context.sampled)
    }

    /// Ends it at a moment that has passed.
    pub(super) fn end_at(mut self, ended: Instant) {
        self.finish(ended);
    }

    fn finish(&mut self, ended: Instant) {
        if let Some(live) = self.0.take()
            && live.record.context.sampled
        {
            let Live { place, began, mut record } = *live;
            record.took = ended.saturating_duration_since(began);
            place.tracer().export(record);
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if self.0.is_some() {
            self.finish(Instant::now());
        }
    }
}
