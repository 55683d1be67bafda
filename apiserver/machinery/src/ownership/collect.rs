//! [`field_set`]: every leaf and item that an object states, as the set that an apply claims.

use super::element::Element;
use super::field_set::{Entry, FieldSet};
use super::items;
use super::shape::{Shape, Walk};
use super::typed_error::TypedError;
use crate::value::Value;
use std::sync::Arc;

/// The fields that `value` states.
///
/// # Errors
/// A list whose items cannot be told apart.
pub fn field_set(shape: Shape<'_>, value: &Value) -> Result<FieldSet, TypedError> {
    collect(shape, value).map(|(_, set)| set)
}

/// Whether the value itself is claimed, and what is claimed below it.
fn collect(shape: Shape<'_>, value: &Value) -> Result<(bool, FieldSet), TypedError> {
    match (shape.walk(Some(value)), value) {
        (Walk::Leaf | Walk::AtomicMap | Walk::AtomicList, _) => Ok((true, FieldSet::new())),
        (Walk::Map, Value::Map(map)) => {
            let mut entries = Vec::with_capacity(map.len());
            for (name, member) in map {
                let element = Element::Field(name.clone());
                let Some((child, _)) = shape.member(name) else { continue };
                let (claimed, below) = collect(child, member).map_err(|error| error.at(&element))?;
                let hollow = member.is_null() || member.as_map().is_some_and(crate::value::Map::is_empty);
                let claimed = claimed || hollow || !shape.declares(name);
                entries.extend(Entry::of(element, claimed, Some(Arc::new(below))));
            }
            Ok((false, FieldSet::from_entries(entries)))
        }
        (Walk::List, Value::List(list)) => {
            let elements = items::elements(shape, list)?;
            let mut order: Vec<usize> = (0..list.len()).collect();
            order.sort_by(|a, b| elements.get(*a).cmp(&elements.get(*b)));
            let mut entries: Vec<Entry> = Vec::with_capacity(list.len());
            for at in order {
                let (Some(element), Some(item)) = (elements.get(at), list.get(at)) else { continue };
                // Of items that cannot be told apart only that they are there is claimed.
                if let Some(last) = entries.last_mut().filter(|last| last.element == *element) {
                    last.below = None;
                    continue;
                }
                let (_, below) = collect(shape.item(), item).map_err(|error| error.at(element))?;
                entries.extend(Entry::of(element.clone(), true, Some(Arc::new(below))));
            }
            Ok((false, FieldSet::from_entries(entries)))
        }
        (Walk::Map | Walk::List, _) => Ok((false, FieldSet::new())),
    }
}
