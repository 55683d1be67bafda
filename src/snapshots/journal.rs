//! What the schedule of a server has done and will do, for whoever asks how that server is.

use serde::{Deserialize, Serialize};

/// The schedule of one server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ScheduleState {
    /// Where its snapshots go.
    pub(crate) place: String,
    /// How often one is taken, in seconds.
    pub(crate) interval_seconds: u64,
    /// The newest one; none if there is none yet.
    pub(crate) last: Option<Taken>,
    /// What went wrong since then; none if nothing did.
    pub(crate) failure: Option<Failure>,
    /// When the next one is tried, Unix seconds.
    pub(crate) next_at: i64,
}

/// A snapshot that was taken by the clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Taken {
    /// Its name where it is.
    pub(crate) name: String,
    /// When it was taken, Unix seconds.
    pub(crate) at: i64,
    /// Its size.
    pub(crate) bytes: u64,
}

/// Attempts in a row of which none gave a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Failure {
    /// When the first of them was, Unix seconds.
    pub(crate) since: i64,
    /// How many there were.
    pub(crate) attempts: u32,
    /// Why the latest failed.
    pub(crate) why: String,
}

impl ScheduleState {
    /// Notes that an attempt failed.
    pub(super) fn failed(&mut self, now: i64, why: String) {
        let before = self.failure.take();
        let (since, attempts) = before.map_or((now, 0), |before| (before.since, before.attempts));
        self.failure = Some(Failure { since, attempts: attempts.saturating_add(1), why });
    }

    /// Notes that there is a newer one.
    pub(super) fn succeeded(&mut self, taken: Taken) {
        self.last = Some(taken);
        self.failure = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_until_a_snapshot_is_taken() {
        let mut state =
            ScheduleState { place: "/s".into(), interval_seconds: 60, last: None, failure: None, next_at: 0 };
        state.failed(100, "disk full".into());
        state.failed(160, "still full".into());
        let told = state.failure.clone().unwrap();
        assert_eq!((told.since, told.attempts, told.why.as_str()), (100, 2, "still full"));
        let taken = Taken { name: "a".into(), at: 200, bytes: 1 };
        state.succeeded(taken.clone());
        assert_eq!((state.failure, state.last), (None, Some(taken)));
    }
}
