//! Kubernetes Events: what happened to an object, for people.
//!
//! The [`Recorder`] never blocks and never fails its caller. Repeated events become one with a count, many similar ones
//! are combined, and an object that keeps making noise is bounded, with upstream's numbers.

mod correlate;
mod event_type;
mod recorder;
mod reference;

pub use event_type::EventType;
pub use recorder::{Occurrence, Recorder};
pub use reference::reference;
