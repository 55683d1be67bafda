//! Events, served as core/v1 and as events.k8s.io/v1. Both are stored as core/v1; only the second is checked
//! strictly. How long events are kept is the store's part.

mod core_v1;
mod events_v1;
mod row;

pub use core_v1::EVENT;
pub use events_v1::EVENTS_EVENT;
