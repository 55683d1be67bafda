//! Events, served as core/v1 and as events.k8s.io/v1. Both are stored as core/v1; only the second is checked
//! strictly.

mod core_v1;
mod events_v1;
mod row;

pub use core_v1::EVENT;
pub use events_v1::EVENTS_EVENT;

/// Seconds that an event is kept.
pub const EVENT_LIFETIME_SECONDS: i64 = 3600;
