//! All objects of one resource as they were at one revision.

use std::ops::Bound;
use std::sync::Arc;

use mainstay_store::Revision;

use super::cached::Position;
use super::objects::Objects;
use super::{Cached, Interest};

/// An immutable view; cheap to take and to clone, however many objects there are.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Everything written up to here is in the view, nothing later.
    pub revision: Revision,
    pub(super) objects: Objects,
}

impl Snapshot {
    /// One object.
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Arc<Cached>> {
        self.objects.get(namespace, name)
    }

    /// Only the objects that `interest` can be about, and perhaps others: what an index finds is not looked for.
    #[must_use]
    pub fn narrowed(&self, interest: &Interest) -> Self {
        Self { revision: self.revision, objects: self.objects.narrowed(interest) }
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.objects.all().len()
    }

    /// True without objects.
    pub fn is_empty(&self) -> bool {
        self.objects.all().is_empty()
    }

    /// All objects, in key order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Cached>> {
        self.objects.all().iter().map(|entry| &entry.0)
    }

    /// The objects of one namespace, in key order.
    pub fn namespace<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Arc<Cached>> {
        self.starting_at(namespace, b"").take_while(move |object| object.header.namespace == namespace)
    }

    /// The objects of `namespace` (all when empty) from `position` on, which counts from `namespace/`.
    pub fn page<'a>(&'a self, namespace: &'a str, position: &[u8]) -> impl Iterator<Item = &'a Arc<Cached>> {
        self.starting_at(namespace, position)
            .take_while(move |object| namespace.is_empty() || object.header.namespace == namespace)
    }

    fn starting_at(&self, namespace: &str, position: &[u8]) -> impl Iterator<Item = &Arc<Cached>> {
        let mut from = Vec::with_capacity(namespace.len() + 1 + position.len());
        if !namespace.is_empty() {
            from.extend_from_slice(namespace.as_bytes());
            from.push(b'/');
        }
        from.extend_from_slice(position);
        let from = Position(&from);
        self.objects
            .all()
            .range::<(Bound<&Position<'_>>, Bound<&Position<'_>>), Position<'_>>((
                Bound::Included(&from),
                Bound::Unbounded,
            ))
            .map(|entry| &entry.0)
    }
}
