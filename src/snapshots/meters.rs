//! What `/metrics` tells of a server's snapshots by the clock: how often they are wanted, how the attempts went, when the last one was taken.

use anyhow::Context as _;
use prometheus::{IntCounterVec, IntGauge, Opts, Registry};

use super::journal::ScheduleState;

/// The metrics of one server. Clones are the same ones.
#[derive(Clone)]
pub(crate) struct SnapshotMeters {
    attempts: IntCounterVec,
    failures_in_a_row: IntGauge,
    last: IntGauge,
    last_bytes: IntGauge,
    interval: IntGauge,
}

impl SnapshotMeters {
    /// Makes them known. All are there from the beginning, as zeros.
    ///
    /// # Errors
    /// They are known already.
    pub(crate) fn register(registry: &Registry) -> anyhow::Result<Self> {
        let gauge = |name: &str, help: &str| -> anyhow::Result<IntGauge> {
            let gauge = IntGauge::new(format!("mainstay_snapshot_{name}"), help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let attempts = Opts::new(
            "mainstay_snapshot_attempts_total",
            "Snapshots of the cluster that this server tried to take by the clock, by how that ended.",
        );
        let attempts =
            IntCounterVec::new(attempts, &["result"]).context("making the metrics of snapshots")?;
        registry.register(Box::new(attempts.clone())).context("registering the metrics of snapshots")?;
        for result in ["success", "failure"] {
            attempts.with_label_values(&[result]);
        }
        Ok(Self {
            attempts,
            failures_in_a_row: gauge(
                "failures_in_a_row",
                "Attempts since the last one that gave a snapshot; zero is well.",
            )?,
            last: gauge(
                "last_success_timestamp_seconds",
                "When the newest snapshot of this server was taken, Unix seconds; zero if there is none.",
            )?,
            last_bytes: gauge("last_size_bytes", "The size of that snapshot.")?,
            interval: gauge("interval_seconds", "How often this server takes a snapshot; zero if never.")?,
        })
    }

    /// An attempt has ended.
    pub(super) fn attempted(&self, is_taken: bool) {
        self.attempts.with_label_values(&[if is_taken { "success" } else { "failure" }]).inc();
    }

    /// How the schedule is.
    pub(super) fn show(&self, state: &ScheduleState) {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.failures_in_a_row.set(state.failure.as_ref().map_or(0, |failure| failure.attempts.into()));
        self.last.set(state.last.as_ref().map_or(0, |last| last.at));
        self.last_bytes.set(state.last.as_ref().map_or(0, |last| number(last.bytes)));
        self.interval.set(number(state.interval_seconds));
    }
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;

    use super::*;
    use crate::snapshots::Taken;

    #[test]
    fn what_went_well_and_what_did_not_is_told() {
        let registry = Registry::new();
        let meters = SnapshotMeters::register(&registry).unwrap();
        let mut state = ScheduleState {
            place: "/s".into(),
            interval_seconds: 43_200,
            last: Some(Taken { name: "a".into(), at: 1_764_000_000, bytes: 77 }),
            failure: None,
            next_at: 0,
        };
        meters.attempted(true);
        for at in [100, 160] {
            meters.attempted(false);
            state.failed(at, "full".into());
        }
        meters.show(&state);
        let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        for line in [
            "mainstay_snapshot_attempts_total{result=\"failure\"} 2",
            "mainstay_snapshot_attempts_total{result=\"success\"} 1",
            "mainstay_snapshot_failures_in_a_row 2",
            "mainstay_snapshot_interval_seconds 43200",
            "mainstay_snapshot_last_size_bytes 77",
            "mainstay_snapshot_last_success_timestamp_seconds 1764000000",
        ] {
            assert!(text.lines().any(|told| told == line), "{line} is not in\n{text}");
        }
        assert!(SnapshotMeters::register(&registry).is_err(), "twice");
    }
}
