//! The delay before a crashed container or a failed pull is tried again: 10 s doubling to 5 min, forgotten after
//! ten quiet minutes (upstream's `flowcontrol.Backoff`). Time is an argument.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use mainstay_agents_kit::time::{elapsed, plus};

/// The first delay.
pub(crate) const FIRST: Duration = Duration::from_secs(10);
/// The longest delay.
pub(crate) const MAX: Duration = Duration::from_secs(300);

/// One key's delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Delay {
    pub delay: Duration,
    pub updated: Timestamp,
}

/// Until when an attempt must wait that failed at `failed_at`; `None` when it may start.
pub(crate) fn wait_until(delay: Option<&Delay>, failed_at: Timestamp, now: Timestamp) -> Option<Timestamp> {
    let delay = delay?;
    if elapsed(delay.updated, failed_at) > MAX * 2 {
        return None;
    }
    let until = plus(failed_at, delay.delay);
    (now < until).then_some(until)
}

/// The delay that follows an attempt made now, after a failure at `failed_at`.
pub(crate) fn next(delay: Option<&Delay>, failed_at: Timestamp, now: Timestamp) -> Delay {
    let delay = match delay {
        Some(old) if elapsed(old.updated, failed_at) <= MAX * 2 => (old.delay * 2).min(MAX),
        _ => FIRST,
    };
    Delay { delay, updated: now }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn delays_double_up_to_five_minutes() {
        let mut delay = None;
        let mut seen = Vec::new();
        for step in 0..7 {
            delay = Some(next(delay.as_ref(), at(step * 301), at(step * 301)));
            seen.push(delay.unwrap().delay.as_secs());
        }
        assert_eq!(seen, [10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn the_first_restart_is_immediate_and_the_second_waits() {
        assert_eq!(wait_until(None, at(5), at(5)), None);
        let delay = next(None, at(5), at(5));
        assert_eq!(wait_until(Some(&delay), at(7), at(8)), Some(at(17)));
        assert_eq!(wait_until(Some(&delay), at(7), at(17)), None);
    }

    #[test]
    fn ten_quiet_minutes_forget_the_delay() {
        let delay = Delay { delay: MAX, updated: at(0) };
        assert_eq!(wait_until(Some(&delay), at(601), at(602)), None);
        assert_eq!(next(Some(&delay), at(601), at(602)).delay, FIRST);
    }
}
