//! What a process does about a Lease that it sees. Pure.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

use crate::time::micro_time;

/// Stands in the identity of whoever acts by a mandate.
const BY_MANDATE: &str = "_mainstay-";

/// Who a process says it is in the Leases that it holds: another that gets the mandate knows by it that this one has lost it.
pub fn identity(host: &str) -> String {
    format!("{host}{BY_MANDATE}{:08x}", rand::random::<u32>())
}

/// How quickly a holder that is gone is replaced, and how often a live one writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    /// A Lease that did not change for so long has no holder any more. Whole seconds.
    pub lease: Duration,
    /// A holder that did not renew for so long stops; the rest of `lease` is its time to do so.
    pub renew_deadline: Duration,
    /// Who has the mandate takes the Lease of one that has lost it after so long, if that one did not give it up: by then it has stopped.
    pub succession: Duration,
    /// How often a holder renews, at least.
    pub renew: Duration,
    /// How soon a call that failed is made again.
    pub retry: Duration,
}

impl Default for Timings {
    /// Upstream's 15 and 10 seconds, and with the store's election loops act again within three seconds of a machine's death all the same.
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            succession: Duration::from_secs(1),
            renew: Duration::from_secs(5),
            retry: Duration::from_millis(100),
        }
    }
}

/// What to do now.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Move {
    /// Write this: it makes us the holder.
    Take(LeaseSpec),
    /// Somebody else holds it; look again after this long, or when it changes.
    Wait(Duration),
}

/// Decides for a candidate that has the mandate. `unchanged` is how long this process has had it and seen `held` as it is: other machines'
/// clocks are not trusted.
pub(super) fn candidate(
    held: Option<&LeaseSpec>,
    unchanged: Duration,
    identity: &str,
    timings: &Timings,
    now: Timestamp,
) -> Move {
    let holder = held.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
    let seconds = held.and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
    let lasts = if holder.contains(BY_MANDATE) {
        timings.succession
    } else {
        Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
    };
    let left = lasts.saturating_sub(unchanged);
    if !holder.is_empty() && holder != identity && !left.is_zero() {
        return Move::Wait(left);
    }
    let transitions = held.and_then(|spec| spec.lease_transitions).unwrap_or_default();
    let changes_hands = held.is_some() && holder != identity;
    Move::Take(LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: Some(i32::try_from(timings.lease.as_secs()).unwrap_or(i32::MAX)),
        acquire_time: Some(micro_time(now)),
        renew_time: Some(micro_time(now)),
        lease_transitions: Some(transitions.saturating_add(i32::from(changes_hands))),
        ..held.cloned().unwrap_or_default()
    })
}

/// The holder's next state of the Lease; none if somebody else has taken it.
pub(super) fn renewed(held: &LeaseSpec, identity: &str, now: Timestamp) -> Option<LeaseSpec> {
    (held.holder_identity.as_deref() == Some(identity))
        .then(|| LeaseSpec { renew_time: Some(micro_time(now)), ..held.clone() })
}

/// What a holder that goes in order leaves behind: whoever looks next may take it at once. None if somebody else has taken it.
pub(super) fn released(held: &LeaseSpec, identity: &str, now: Timestamp) -> Option<LeaseSpec> {
    (held.holder_identity.as_deref() == Some(identity)).then(|| LeaseSpec {
        holder_identity: Some(String::new()),
        lease_duration_seconds: Some(1),
        renew_time: Some(micro_time(now)),
        ..held.clone()
    })
}

/// The last moment not after `due` that is a whole number of steps after `base`: later than one step before `due`.
pub(super) fn aligned(due: Instant, base: Instant, step: Duration) -> Instant {
    let over = due.saturating_duration_since(base).as_nanos() % step.as_nanos().max(1);
    due - Duration::from_nanos(u64::try_from(over).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn held(holder: &str) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(2),
            lease_transitions: Some(4),
            ..LeaseSpec::default()
        }
    }

    fn decide(held: Option<&LeaseSpec>, unchanged: u64) -> Move {
        candidate(held, Duration::from_secs(unchanged), "us", &Timings::default(), NOW)
    }

    fn transitions(decided: &Move) -> Option<i32> {
        match decided {
            Move::Take(spec) => spec.lease_transitions,
            Move::Wait(_) => None,
        }
    }

    #[test]
    fn a_lease_is_taken_when_nobody_holds_it_any_more() {
        assert_eq!(transitions(&decide(None, 0)), Some(0), "there is none");
        assert_eq!(decide(Some(&held("other")), 1), Move::Wait(Duration::from_secs(1)));
        assert_eq!(transitions(&decide(Some(&held("other")), 2)), Some(5), "its time is over");
        assert_eq!(transitions(&decide(Some(&held("us")), 0)), Some(4), "ours from before a restart");
        let given_up = released(&held("other"), "other", NOW).unwrap();
        assert_eq!(transitions(&decide(Some(&given_up), 0)), Some(5), "given up");
        assert_eq!(released(&held("other"), "us", NOW), None, "not ours to give up");
    }

    #[test]
    fn the_lease_of_one_that_has_lost_the_mandate_is_not_waited_for() {
        let other = LeaseSpec { lease_duration_seconds: Some(15), ..held(&identity("m2")) };
        assert_eq!(decide(Some(&other), 0), Move::Wait(Duration::from_secs(1)), "it has to stop first");
        assert_eq!(transitions(&decide(Some(&other), 1)), Some(5));
        let stranger = LeaseSpec { lease_duration_seconds: Some(15), ..held("m2_0a1b2c3d") };
        assert_eq!(decide(Some(&stranger), 14), Move::Wait(Duration::from_secs(1)), "it knows no mandate");
    }

    #[test]
    fn renewals_fall_on_common_moments_and_never_later_than_due() {
        let (base, step) = (Instant::now(), Duration::from_millis(500));
        let at = |millis: u64| base + Duration::from_millis(millis);
        for (began, due) in [(0, 500), (1, 500), (499, 500), (500, 1000), (1003, 1500), (1499, 1500)] {
            assert_eq!(aligned(at(began) + step, base, step), at(due), "after one at {began} ms");
        }
        assert_eq!(aligned(base, at(300), step), base, "before the base all moments are as good");
    }

    #[test]
    fn a_holder_stops_before_another_may_begin() {
        let timings = Timings::default();
        assert!(timings.renew + 2 * timings.retry < timings.renew_deadline);
        assert!(timings.renew_deadline + Duration::from_secs(1) < timings.lease);
        assert!(renewed(&held("us"), "us", NOW).is_some());
        assert!(renewed(&held("other"), "us", NOW).is_none());
    }
}
