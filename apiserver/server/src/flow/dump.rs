//! What upstream shows under `/debug/api_priority_and_fairness/dump_priority_levels`: a row for each level.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use prometheus::core::Collector;
use prometheus::proto::Metric;

use super::control::FlowControl;

/// Upstream's columns.
const COLUMNS: [&str; 10] = [
    "PriorityLevelName",
    "ActiveQueues",
    "IsIdle",
    "IsQuiescing",
    "WaitingRequests",
    "ExecutingRequests",
    "DispatchedRequests",
    "RejectedRequests",
    "TimedoutRequests",
    "CancelledRequests",
];

impl FlowControl {
    /// The levels as upstream's table of text. A level that is gone takes no new requests at once, so that none is ever
    /// quiescing.
    pub(crate) fn dump_levels(&self) -> String {
        let metrics = &self.metrics;
        let waiting = by_level(&metrics.waiting, "", gauge);
        let executing = by_level(&metrics.executing, "", gauge);
        let dispatched = by_level(&metrics.dispatched, "", counter);
        let refused: Vec<_> = ["queue-full", "concurrency-limit", "time-out", "cancelled"]
            .into_iter()
            .map(|reason| by_level(&metrics.rejected, reason, counter))
            .collect();
        let of = |counts: &BTreeMap<String, u64>, level: &str| counts.get(level).copied().unwrap_or_default();
        let mut rows = vec![COLUMNS.map(str::to_owned)];
        for (name, standing) in &self.plan.load().levels {
            let (waiting, executing) = (of(&waiting, name), of(&executing, name));
            let refused: Vec<u64> = refused.iter().map(|counts| of(counts, name)).collect();
            let [full, limit, late, cancelled] = refused.as_slice() else { continue };
            rows.push([
                name.to_string(),
                standing.level.active_queues().to_string(),
                (waiting + executing == 0).to_string(),
                false.to_string(),
                waiting.to_string(),
                executing.to_string(),
                of(&dispatched, name).to_string(),
                (full + limit).to_string(),
                late.to_string(),
                cancelled.to_string(),
            ]);
        }
        table(&rows)
    }
}

/// The sums of a metric by its level; with a `reason`, only what has it.
fn by_level(metric: &impl Collector, reason: &str, value: fn(&Metric) -> f64) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for family in metric.collect() {
        for metric in family.get_metric() {
            let label = |name: &str| {
                metric.get_label().iter().find(|label| label.name() == name).map_or("", |label| label.value())
            };
            if reason.is_empty() || label("reason") == reason {
                *sums.entry(label("priority_level").to_owned()).or_default() += value(metric) as u64;
            }
        }
    }
    sums
}

fn gauge(metric: &Metric) -> f64 {
    metric.get_gauge().get_value()
}

fn counter(metric: &Metric) -> f64 {
    metric.get_counter().get_value()
}

/// Rows of cells that end with a comma, as wide as the widest of their column and a space, and at least eight.
pub(super) fn table<R: AsRef<[String]>>(rows: &[R]) -> String {
    let columns = rows.first().map_or(0, |row| row.as_ref().len());
    let width =
        |at: usize| rows.iter().filter_map(|row| row.as_ref().get(at)).map(|cell| cell.len() + 2).max();
    let widths: Vec<usize> = (0..columns).map(|at| width(at).unwrap_or_default().max(8)).collect();
    let mut out = String::new();
    for row in rows {
        for (at, (cell, width)) in row.as_ref().iter().zip(&widths).enumerate() {
            let written = if at + 1 == columns {
                writeln!(out, "{cell}")
            } else {
                write!(out, "{:<width$}", format!("{cell},"))
            };
            // Text takes whatever is written.
            written.unwrap_or_default();
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other() {
        let rows = [["Name", "A", "Last"], ["a-long-name", "17", "x"]].map(|row| row.map(str::to_owned));
        assert_eq!(table(&rows), "Name,        A,      Last\na-long-name, 17,     x\n");
    }
}
