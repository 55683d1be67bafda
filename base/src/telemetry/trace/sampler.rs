//! Which traces are recorded: OpenTelemetry's ratio by trace identifier, so that all who see a trace say the same.

use super::TraceId;

const MILLION: u64 = 1_000_000;

/// Decides for traces that begin here; those that began elsewhere are recorded if they were there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampler {
    /// Identifiers whose last 63 bits are below this are recorded.
    below: u64,
}

impl Sampler {
    /// Records so many traces of a million; a million and more is all.
    pub fn per_million(rate: u32) -> Self {
        let part = u128::from(u64::from(rate).min(MILLION)) << 63;
        Self { below: u64::try_from(part / u128::from(MILLION)).unwrap_or(u64::MAX) }
    }

    pub(super) fn takes(self, trace: TraceId) -> bool {
        (trace.0 & u128::from(u64::MAX)) >> 1 < u128::from(self.below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_that_of_identifiers() {
        let taken = |rate| {
            let sampler = Sampler::per_million(rate);
            // Spread evenly over the last 64 bits.
            let step = u128::from(u64::MAX) / 1000;
            let ids = (0..1000u128).map(|at| TraceId(1 << 64 | (at * step + step / 2)));
            ids.filter(|id| sampler.takes(*id)).count()
        };
        assert_eq!((taken(0), taken(1_000_000), taken(2_000_000)), (0, 1000, 1000));
        assert_eq!(taken(250_000), 250);
        assert!(!Sampler::per_million(0).takes(TraceId(1 << 64)), "never is never");
    }
}
