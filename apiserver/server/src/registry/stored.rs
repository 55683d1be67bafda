//! What a write leaves behind.

use std::sync::Arc;

use mainstay_apiserver_machinery::value::Value;
use mainstay_store::Revision;

use crate::cache::Cached;

/// A stored object, as a tree and as wire bytes.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The object in its stored form, with `metadata.resourceVersion`.
    pub object: Value,
    /// The same, as the cache will hold it.
    pub cached: Arc<Cached>,
}

impl Stored {
    /// The revision of the write.
    pub fn revision(&self) -> Revision {
        self.cached.header.revision
    }
}
