//! Conversions between the process clock and the API's time types.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use mainstay_base::lifecycle::Clock;

/// The wall time of `clock` as the API's timestamp type.
pub fn now(clock: &dyn Clock) -> Timestamp {
    let wall = clock.wall();
    let nanos = i32::try_from(wall.nanosecond()).unwrap_or(0);
    Timestamp::new(wall.unix_timestamp(), nanos).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// `at` as `metav1.Time`, which carries whole seconds on the wire.
pub fn time(at: Timestamp) -> Time {
    Time(Timestamp::new(at.as_second(), 0).unwrap_or(at))
}

/// `at` as `metav1.MicroTime`.
pub fn micro_time(at: Timestamp) -> MicroTime {
    let micros = Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at);
    MicroTime(micros)
}

/// How long after `earlier` the moment `later` is; zero when it is not later.
pub fn elapsed(earlier: Timestamp, later: Timestamp) -> std::time::Duration {
    std::time::Duration::try_from(later.duration_since(earlier)).unwrap_or_default()
}

/// `at` plus `delta`, saturating at the ends of time.
pub fn plus(at: Timestamp, delta: std::time::Duration) -> Timestamp {
    SignedDuration::try_from(delta)
        .ok()
        .and_then(|delta| at.checked_add(delta).ok())
        .unwrap_or(Timestamp::MAX)
}
