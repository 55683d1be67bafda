//! Tasks that are named, cancelled and joined; clocks as arguments; backoff with jitter.

mod backoff;
mod clock;
mod tasks;

pub use backoff::Backoff;
pub use clock::{Clock, ManualClock, SystemClock};
pub use tasks::{TaskEnd, Tasks};
