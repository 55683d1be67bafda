//! Local caches of API objects, kept by list and watch.
//!
//! [`Informers`] hands out one [`Reader`] per kind and filter; behind it one task lists, then watches from the list's
//! resourceVersion, resumes where a broken watch stopped, relists when the server answers 410, and backs off with
//! jitter when the server does not answer. A cache may be stale at any time: whoever reads it must tolerate that.

mod cache;
mod change;
mod filter;
mod reader;
mod registry;
mod source;

pub use change::{Change, Subscription};
pub use filter::Filter;
pub use reader::{Progress, Reader, Snapshot};
pub use registry::Informers;
pub use source::{Informed, start};
