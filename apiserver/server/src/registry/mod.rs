//! The one door to stored objects: guarded writes to the store, reads from the cache.
//!
//! No rule of any kind runs here. Handlers (and endpoints that change objects) run the pipeline and hand the result over.

mod keys;
mod registry;
mod stored;
mod writes;

pub use keys::{KeyError, ROOT, object_key, resource_prefix};
pub use registry::{Registry, RegistryError};
pub use stored::Stored;
