//! Owners across the `scale` subresource: who owns the replica count of an object owns it in its Scale, and back.

use super::element::Element;
use super::field_set::FieldSet;
use super::managers::{Fields, Managed, Owner};
use crate::value::Value;
use smol_str::SmolStr;

const SCALE_VERSION: &str = "autoscaling/v1";

fn path(names: &[&str]) -> Vec<Element> {
    names.iter().map(|name| Element::field(name)).collect()
}

fn replicas() -> FieldSet {
    FieldSet::of_names(&[&["spec", "replicas"]])
}

/// The owners of a Scale, from those of its object of version `api_version` whose count is at `count`.
pub fn to_scale(owners: &[Value], api_version: &str, count: &[&str]) -> Vec<Value> {
    let mut managed = Managed::stored(owners).unwrap_or_default();
    managed.owners.retain_mut(|owner| {
        if owner.api_version != api_version || !owner.fields.set().has(&path(count)) {
            return false;
        }
        owner.api_version = SmolStr::new_static(SCALE_VERSION);
        owner.fields = Fields::Set(replicas());
        true
    });
    // The owner stays who it is: only the version of the fields is that of the Scale.
    managed.into_entries()
}

/// The owners of the object after its Scale was written: `owners` are those of the object before, `scale` those of the
/// Scale after. An owner of the count that the Scale no longer lists has lost it.
pub fn from_scale(owners: &[Value], scale: &[Value], api_version: &str, count: &[&str]) -> Vec<Value> {
    let (Ok(mut managed), Ok(after)) = (Managed::stored(owners), Managed::stored(scale)) else {
        return owners.to_vec();
    };
    let count_path = path(count);
    let same = |a: &Owner<'_>, b: &Owner<'_>| {
        a.id.manager == b.id.manager
            && a.id.operation == b.id.operation
            && a.id.subresource == b.id.subresource
    };
    let mut new_owners: Vec<Owner<'_>> = after.owners;
    let lost = FieldSet::of_names(&[count]);
    managed.owners.retain_mut(|owner| {
        if owner.api_version != api_version || !owner.fields.set().has(&count_path) {
            return true;
        }
        if let Some(at) = new_owners.iter().position(|scale| same(scale, owner)) {
            new_owners.remove(at);
            return true;
        }
        let left = owner.fields.set().difference(&lost);
        let kept = !left.is_empty();
        owner.fields = Fields::Set(left);
        kept
    });
    for mut owner in new_owners {
        if !owner.fields.set().has(&path(&["spec", "replicas"])) {
            continue;
        }
        owner.api_version = api_version.into();
        if !owner.id.api_version.is_empty() {
            owner.id.api_version = api_version.into();
        }
        owner.time = None;
        owner.fields = Fields::Set(lost.clone());
        match managed.find_mut(&owner.id) {
            Some(known) => known.fields = Fields::Set(known.fields.set().union(&lost)),
            None => managed.owners.push(owner),
        }
    }
    managed.into_entries()
}
