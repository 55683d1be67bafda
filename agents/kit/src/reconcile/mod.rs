//! The control loop: keys in, one run per key at a time, observe → plan → act.
//!
//! A run gets a key, never an event, so that a restart, a resync and a lost change are the common path. After a run
//! that wrote, the next run of the same key waits until the caches show the writes: a controller always reads its own
//! writes, which is what upstream's expectations are for.

mod drive;
mod queue;
mod reconciler;
mod watch;

pub use drive::{Drive, drive};
pub use queue::{Outcome, WorkQueue};
pub use reconciler::{Next, ObserveError, Reconciler};
pub use watch::Watch;
