//! The metadata of all objects that can own or be owned.

use kube::api::{DynamicObject, PartialObjectMeta};
use mainstay_agents_kit::informer::{Informers, Reader};
use mainstay_agents_kit::step::Kind;

use super::world::Item;
use crate::discovery::Discovered;

pub(super) type Metadata = PartialObjectMeta<DynamicObject>;

const BY_UID: &str = "uid";
const BY_OWNER: &str = "owner";

/// One cache per resource.
#[derive(Clone)]
pub(super) struct Caches {
    caches: Vec<(Kind, Reader<Metadata>)>,
}

impl Caches {
    pub(super) fn new(informers: &Informers, resources: &[Discovered]) -> Self {
        let caches = resources.iter().map(|discovered| {
            let reader = informers.metadata(&discovered.resource);
            reader.add_index(BY_UID, |object: &Metadata| object.metadata.uid.clone().into_iter().collect());
            reader.add_index(BY_OWNER, |object: &Metadata| {
                object.metadata.owner_references.iter().flatten().map(|owner| owner.uid.clone()).collect()
            });
            (Kind::dynamic(&discovered.resource), reader)
        });
        Self { caches: caches.collect() }
    }

    pub(super) fn readers(&self) -> impl Iterator<Item = &Reader<Metadata>> {
        self.caches.iter().map(|(_, reader)| reader)
    }

    /// The object of this uid.
    pub(super) fn by_uid(&self, uid: &str) -> Option<Item> {
        self.indexed(BY_UID, uid).next()
    }

    /// The objects that name this uid as an owner.
    pub(super) fn dependents(&self, uid: &str) -> Vec<Item> {
        self.indexed(BY_OWNER, uid).collect()
    }

    fn indexed(&self, index: &'static str, value: &str) -> impl Iterator<Item = Item> {
        self.caches.iter().flat_map(move |(kind, reader)| {
            let found = reader.by_index(index, value);
            found.into_iter().map(|object| Item { kind: kind.clone(), meta: object.metadata.clone() })
        })
    }
}
