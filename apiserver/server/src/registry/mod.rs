//! The one door to stored objects: guarded writes to the store, reads from the cache.
//!
//! No rule of any kind runs here. Handlers (and endpoints that change objects) run the pipeline and hand the result over.

mod converted;
mod door;
mod event_leases;
mod forms;
mod freshness;
mod history;
mod keys;
mod past;
mod served;
mod stored;
mod unreadable;
mod writes;

pub use door::Registry;
pub use forms::Convert;
pub use freshness::Stale;
pub use history::HistoryPage;
pub use keys::{KeyError, ROOT, object_key, object_name, resource_prefix};
pub use past::{Past, PastEvents, Seen};
pub use served::{Kinds, ServedKinds};
pub use stored::Stored;
pub use writes::Written;
