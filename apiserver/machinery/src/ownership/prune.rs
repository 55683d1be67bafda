//! Takes fields out of an object by a set of paths.

use super::field_set::{Entry, FieldSet};
use super::items;
use super::shape::{Shape, Walk};
use crate::value::{Map, Value};

/// `value` without the members and items that `doomed` names. What is left of an object or list without any is null,
/// which decoding drops.
pub(super) fn without(shape: Shape<'_>, value: &Value, doomed: &FieldSet) -> Value {
    if doomed.is_empty() {
        return value.clone();
    }
    match (shape.walk(Some(value)), value) {
        (Walk::Map, Value::Map(map)) => {
            let members = map.iter().filter_map(|(name, member)| {
                let element = super::element::Element::Field(name.clone());
                let kept = keep(shape.member(name).map(|(child, _)| child), member, doomed.entry(&element))?;
                Some((name.clone(), kept))
            });
            let members: Vec<_> = members.collect();
            if members.is_empty() { Value::Null } else { Value::Map(Map::from_pairs(members)) }
        }
        (Walk::List, Value::List(list)) => {
            let kept: Vec<Value> = list
                .iter()
                .filter_map(|item| {
                    let entry = items::element(shape, item).ok();
                    let entry = entry.and_then(|element| doomed.entry(&element));
                    keep(Some(shape.item()), item, entry)
                })
                .collect();
            if kept.is_empty() { Value::Null } else { Value::List(kept) }
        }
        (Walk::Leaf, scalar) => scalar.clone(),
        _ => Value::Null,
    }
}

fn keep(shape: Option<Shape<'_>>, value: &Value, doomed: Option<&Entry>) -> Option<Value> {
    let Some(doomed) = doomed else { return Some(value.clone()) };
    if doomed.member {
        return None;
    }
    Some(match (&doomed.below, shape) {
        (Some(below), Some(shape)) => without(shape, value, below),
        _ => value.clone(),
    })
}
