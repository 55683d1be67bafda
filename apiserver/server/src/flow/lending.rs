//! How levels lend each other seats that they do not use (KEP-1040, "seat borrowing"). [`allot`] is pure.
//!
//! A level keeps at least its nominal seats less what its configuration lets it lend, more where it had use for them in the
//! period that ended, and gets at most its nominal seats and what it may borrow. Between these bounds all levels get the
//! same proportion of what they recently needed.

use super::metrics::FlowMetrics;
use super::plan::Plan;

/// How much of a level's smoothed demand stays after a period of ten seconds: half of it goes in five minutes.
const SMOOTHING: f64 = 0.977;
/// The least demand that counts.
const TARGET_MIN: f64 = 0.001;
/// Halvings of the range that the common proportion lies in.
const HALVINGS: usize = 64;

/// The bounds of one level and what it needs, in seats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Demand {
    pub(super) least: f64,
    pub(super) most: f64,
    pub(super) target: f64,
}

/// Takes the period's demands and sets each level's seats anew.
pub(super) fn lend(plan: &Plan, metrics: &FlowMetrics) {
    let mut total: f64 = plan.levels.values().map(|standing| standing.bounds.nominal as f64).sum();
    let mut lending = Vec::new();
    for (name, standing) in &plan.levels {
        let (bounds, peak) = (standing.bounds, standing.level.take_peak());
        metrics.peak.with_label_values(&[name.as_str()]).set(i64::try_from(peak).unwrap_or(i64::MAX));
        let smoothed = standing.level.smooth(peak as f64, SMOOTHING);
        if standing.level.is_exempt() {
            total -= bounds.least.max(peak) as f64;
            continue;
        }
        let least = bounds.least.max(bounds.nominal.min(peak)) as f64;
        let demand = Demand { least, most: bounds.most as f64, target: smoothed.max(least) };
        lending.push((name, standing, demand));
    }
    let demands: Vec<Demand> = lending.iter().map(|(_, _, demand)| *demand).collect();
    for ((name, standing, _), seats) in lending.iter().zip(allot(total, &demands)) {
        metrics
            .current_limit
            .with_label_values(&[name.as_str()])
            .set(i64::try_from(seats).unwrap_or(i64::MAX));
        standing.level.set_limit(seats);
    }
}

/// `total` seats divided so that each gets the same proportion of its target within its bounds. Where the least bounds
/// alone are more than there is, each gets its least.
pub(super) fn allot(total: f64, demands: &[Demand]) -> Vec<u64> {
    let share = |demand: &Demand, proportion: f64| {
        (demand.target.max(TARGET_MIN) * proportion).clamp(demand.least, demand.most.max(demand.least))
    };
    let sum = |proportion: f64| demands.iter().map(|demand| share(demand, proportion)).sum::<f64>();
    let (mut low, mut high) = (0.0, 1.0);
    while sum(high) < total && high < total / TARGET_MIN {
        high *= 2.0;
    }
    for _halving in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if sum(middle) < total { low = middle } else { high = middle }
    }
    demands.iter().map(|demand| share(demand, high).round() as u64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(least: f64, most: f64, target: f64) -> Demand {
        Demand { least, most, target }
    }

    #[test]
    fn idle_levels_lend_to_the_busy_one_within_their_bounds() {
        let idle = |least| demand(least, 1000.0, least);
        assert_eq!(allot(300.0, &[idle(10.0), idle(20.0), demand(50.0, 1000.0, 500.0)]), [10, 20, 270]);
        assert_eq!(
            allot(300.0, &[idle(10.0), demand(50.0, 80.0, 500.0)]),
            [220, 80],
            "no more than it may borrow"
        );
        assert_eq!(allot(300.0, &[demand(10.0, 300.0, 100.0), demand(10.0, 300.0, 200.0)]), [100, 200]);
        assert_eq!(allot(5.0, &[idle(10.0), idle(20.0)]), [10, 20], "never less than the least");
        assert_eq!(allot(0.0, &[demand(0.0, 0.0, 0.0)]), [0]);
        assert!(allot(10.0, &[]).is_empty());
    }
}
