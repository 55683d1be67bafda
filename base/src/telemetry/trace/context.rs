//! Which span of which trace, as processes tell each other: the header `traceparent` of W3C Trace Context.

use std::fmt;

use rand::Rng as _;

/// The longest `tracestate` that is passed on, in bytes; the specification asks for no more.
const STATE_BYTES_MAX: usize = 512;
/// The bit of the flags that says that the trace is recorded.
const SAMPLED: u8 = 1;

/// The identifier of a trace; never zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(pub(super) u128);

/// The identifier of a span within a trace; never zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(pub(super) u64);

impl TraceId {
    pub(super) fn random() -> Self {
        Self(rand::rng().random_range(1..=u128::MAX))
    }

    /// As it is sent.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl SpanId {
    pub(super) fn random() -> Self {
        Self(rand::rng().random_range(1..=u64::MAX))
    }

    /// As it is sent.
    pub fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A span's place in the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpanContext {
    /// The trace.
    pub trace: TraceId,
    /// The span.
    pub span: SpanId,
    /// Whether the trace is recorded.
    pub sampled: bool,
    /// What tracing systems pass on through us (`tracestate`), untouched; mostly empty.
    pub state: String,
}

impl SpanContext {
    /// Reads the headers `traceparent` and `tracestate`; none if the first is not well-formed, as the specification asks.
    pub fn parse(parent: &str, state: Option<&str>) -> Option<Self> {
        let mut parts = parent.trim().split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let version = u8::try_from(hexadecimal(version, 2)?).ok()?;
        // Later versions may add parts at the end; the first must not.
        if version == 0xff || version == 0 && parts.next().is_some() {
            return None;
        }
        let trace = hexadecimal(trace, 32).filter(|id| *id != 0)?;
        let span = u64::try_from(hexadecimal(span, 16)?).ok().filter(|id| *id != 0)?;
        let flags = u8::try_from(hexadecimal(flags, 2)?).ok()?;
        let state = state.filter(|state| state.len() <= STATE_BYTES_MAX).unwrap_or_default();
        Some(Self {
            trace: TraceId(trace),
            span: SpanId(span),
            sampled: flags & SAMPLED != 0,
            state: state.to_owned(),
        })
    }

    /// The header `traceparent`.
    pub fn parent_header(&self) -> String {
        format!("00-{:?}-{:?}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

/// A number of exactly so many lower-case hexadecimal digits.
fn hexadecimal(text: &str, digits: usize) -> Option<u128> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (text.len() == digits && text.bytes().all(is_digit)).then(|| u128::from_str_radix(text, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_header_comes_back_as_it_was() {
        let context = SpanContext::parse(PARENT, Some("a=1")).unwrap();
        assert!(context.sampled);
        assert_eq!((context.parent_header().as_str(), context.state.as_str()), (PARENT, "a=1"));
        let unsampled = SpanContext::parse(&PARENT.replace("-01", "-00"), None).unwrap();
        assert!(!unsampled.sampled);
    }

    #[test]
    fn what_is_not_well_formed_counts_as_none() {
        for bad in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333é-01",
        ] {
            assert_eq!(SpanContext::parse(bad, None), None, "{bad}");
        }
        assert!(SpanContext::parse(&PARENT.replace("00-", "01-"), None).is_some(), "a later version");
        let long = "x".repeat(STATE_BYTES_MAX + 1);
        assert_eq!(SpanContext::parse(PARENT, Some(&long)).unwrap().state, "");
    }
}
