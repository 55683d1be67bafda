//! What a decision about one deleted namespace depends on.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::jiff::Timestamp;
use kube::core::ObjectMeta;
use mainstay_agents_kit::step::Kind;

pub(crate) struct World {
    pub(super) namespace: Arc<Namespace>,
    /// The kinds that have objects in the namespace.
    pub(super) contents: Vec<Content>,
    /// What could not be read, which may hide contents.
    pub(super) failures: Vec<String>,
    pub(super) now: Timestamp,
}

/// The objects of one kind.
pub(crate) struct Content {
    pub(super) kind: Kind,
    /// Whether all can be deleted by one call.
    pub(super) collection: bool,
    /// The objects' metadata; at most one page.
    pub(super) objects: Vec<ObjectMeta>,
    /// How many there are beyond that page.
    pub(super) beyond: i64,
}
