//! [`track_update`]: the owners after a create, update or patch. What changed belongs to the writer from now on, what
//! went away to nobody. A write that changes nothing leaves the owners as they are, without reading their fields.

use super::compare::{Changes, compare};
use super::field_set::FieldSet;
use super::managers::{Fields, Managed, ManagerId, Operation, Owner, Writing};
use super::shape::Shape;
use crate::object::{Meta, MetaMut};
use crate::value::Value;
use std::sync::LazyLock;

/// Fields that nobody owns: the server writes them, or they name the object.
static NOBODYS: LazyLock<FieldSet> = LazyLock::new(|| {
    FieldSet::of_names(&[
        &["apiVersion"],
        &["kind"],
        &["metadata"],
        &["metadata", "name"],
        &["metadata", "namespace"],
        &["metadata", "creationTimestamp"],
        &["metadata", "selfLink"],
        &["metadata", "uid"],
        &["metadata", "clusterName"],
        &["metadata", "generation"],
        &["metadata", "managedFields"],
        &["metadata", "resourceVersion"],
    ])
});

/// The set without the fields that nobody owns.
pub(super) fn ownable(set: &FieldSet) -> FieldSet {
    set.difference(&NOBODYS)
}

/// Sets `metadata.managedFields` of `new`, the object that a client wants in place of `live` (an empty map on a create).
/// Owners that the client sends replace those of `live`, unless the write is to a subresource; a list of one empty entry
/// drops them all. When the change cannot be told, the owners of `live` stay.
pub fn track_update(shape: Shape<'_>, live: &Value, new: &mut Value, writing: &Writing<'_>) {
    let sent = MetaMut(new).remove("managedFields");
    let stored = Meta(live).managed_fields();
    let owners = tracked(shape, (live, stored), (new, sent.as_ref()), writing);
    let owners = owners.unwrap_or_else(|| stored.to_vec());
    if !owners.is_empty() {
        MetaMut(new).map().insert("managedFields", owners);
    }
}

fn tracked(
    shape: Shape<'_>,
    (live, stored): (&Value, &[Value]),
    (new, sent): (&Value, Option<&Value>),
    writing: &Writing<'_>,
) -> Option<Vec<Value>> {
    let sent = sent.and_then(Value::as_list).unwrap_or_default();
    let as_stored = !writing.subresource.is_empty() || sent.is_empty() || sent == stored;
    let reset = matches!(sent, [Value::Map(entry)] if entry.is_empty()) && writing.subresource.is_empty();
    let mut managed = if reset {
        Managed::default()
    } else if as_stored {
        Managed::stored(stored).unwrap_or_default()
    } else {
        match Managed::sent(sent) {
            Ok(managed) => managed,
            Err(_unreadable) => Managed::stored(stored).unwrap_or_default(),
        }
    };
    // Owners are followed from the create on; an object without any stays so until somebody applies.
    let exists = !Meta(live).uid().is_empty();
    if managed.is_empty() && exists {
        return Some(Vec::new());
    }
    let changes = compare(shape, live, new).ok()?.without(writing.reset);
    if changes.is_empty() && as_stored && !reset {
        return Some(stored.to_vec());
    }
    take_over(&mut managed, &changes, writing.id(Operation::Update), writing);
    managed.cap();
    Some(managed.into_entries())
}

/// Gives what changed to `id`, with the time of now, and takes it from all others.
pub(super) fn take_over(managed: &mut Managed<'_>, changes: &Changes, id: ManagerId, writing: &Writing<'_>) {
    let taken = changes.modified.union(&changes.added);
    managed.release(&taken.union(&changes.removed), None);
    let taken = ownable(&taken);
    if taken.is_empty() {
        return;
    }
    let time = Some(writing.now.into());
    match managed.find_mut(&id) {
        Some(owner) => {
            owner.fields = Fields::Set(taken.union(&owner.fields.set()));
            owner.time = time;
        }
        None => managed.owners.push(Owner {
            api_version: writing.api_version.into(),
            id,
            time,
            fields: Fields::Set(taken),
        }),
    }
}
