//! Writers wait for watchers: while most streams that read lag far behind, the answers of writes are held back for a moment.
//!
//! Writers in closed loops would otherwise go on as fast as they are answered, and what thousands of watchers have to be sent for each write would
//! pile up without end: events would come seconds late, at no more of them a second. Decision 0110.
//!
//! It must never hold what is not a write's answer, never hold an answer for longer than [`HOLD_MAX`](gate::HOLD_MAX), and never on account of a stream
//! that reads nothing. Nothing depends on it but time.
mod gate;
mod plan;

pub(super) use gate::{Joined, Pace, Told};
