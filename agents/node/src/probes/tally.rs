//! Counting probe outcomes against their thresholds. Pure.

/// One probe's thresholds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Thresholds {
    pub success: u32,
    pub failure: u32,
}

/// Consecutive outcomes so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    last: Option<bool>,
    run: u32,
}

impl Tally {
    /// Takes one outcome in; the verdict once a threshold is reached, then again for every outcome of that kind.
    pub(crate) fn observe(&mut self, outcome: bool, thresholds: Thresholds) -> Option<bool> {
        self.run = if self.last == Some(outcome) { self.run.saturating_add(1) } else { 1 };
        self.last = Some(outcome);
        let needed = if outcome { thresholds.success } else { thresholds.failure };
        (self.run >= needed.max(1)).then_some(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_needs_its_threshold_in_a_row() {
        let thresholds = Thresholds { success: 2, failure: 3 };
        let mut tally = Tally::default();
        let seen: Vec<Option<bool>> = [true, true, false, false, true, false, false, false, false]
            .into_iter()
            .map(|o| tally.observe(o, thresholds))
            .collect();
        let (n, y, f) = (None, Some(true), Some(false));
        assert_eq!(seen, [n, y, n, n, n, n, n, f, f]);
    }
}
