//! What a decision about one object depends on.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::core::ObjectMeta;
use mainstay_agents_kit::step::Kind;

pub(super) const FOREGROUND: &str = "foregroundDeletion";
pub(super) const ORPHAN: &str = "orphan";

/// An object as the collector sees it.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) kind: Kind,
    pub(super) meta: ObjectMeta,
}

impl Item {
    pub(super) fn is_deleting(&self) -> bool {
        self.meta.deletion_timestamp.is_some()
    }

    pub(super) fn has_finalizer(&self, name: &str) -> bool {
        self.meta.finalizers.iter().flatten().any(|finalizer| finalizer == name)
    }

    /// Whether the object waits for its dependents to be deleted.
    pub(super) fn awaits_dependents(&self) -> bool {
        self.is_deleting() && self.has_finalizer(FOREGROUND)
    }

    /// The object's reference to the owner of this uid.
    pub(super) fn reference_to(&self, uid: &str) -> Option<&OwnerReference> {
        self.meta.owner_references.iter().flatten().find(|owner| owner.uid == uid)
    }
}

/// What is known of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OwnerState {
    /// It exists.
    Solid,
    /// It does not exist, or is not what the reference says.
    Dangling,
    /// It exists and waits for its dependents to be deleted.
    Waiting,
}

pub(crate) struct World {
    pub(super) item: Item,
    /// The owners in the order of the references.
    pub(super) owners: Vec<(OwnerReference, OwnerState)>,
    /// The objects that name the item as an owner.
    pub(super) dependents: Vec<Item>,
}
