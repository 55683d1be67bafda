//! Items of a list as elements: by their keys, with the schema's default for a key that is absent, or by their value.

use super::element::Element;
use super::shape::{Items, Shape};
use super::typed_error::TypedError;
use crate::value::Value;
use smol_str::SmolStr;

/// The element of an item of a list of that shape.
pub(super) fn element(list: Shape<'_>, item: &Value) -> Result<Element, TypedError> {
    match list.items() {
        None | Some(Items::Atomic) => Err(TypedError::one("invalid indexing of non-associative list")),
        Some(Items::Set) => of_set(item),
        Some(Items::Keyed(keys)) => by_keys(list, keys.iter().map(|key| SmolStr::new_static(key)), item),
        Some(Items::KeyedBy(keys)) => by_keys(list, keys.iter().cloned(), item),
    }
}

/// The elements of all items, in order.
pub(super) fn elements(list: Shape<'_>, items: &[Value]) -> Result<Vec<Element>, TypedError> {
    let one = |(at, item): (usize, &Value)| {
        element(list, item).map_err(|error| TypedError::one(format!("element {at}: {error}")))
    };
    items.iter().enumerate().map(one).collect()
}

fn of_set(item: &Value) -> Result<Element, TypedError> {
    match item {
        Value::Map(_) => {
            Err(TypedError::one("associative list without keys has an element that's a map type"))
        }
        Value::List(_) => Err(TypedError::one("not supported: associative list with lists as elements")),
        Value::Null => {
            Err(TypedError::one("associative list without keys has an element that's an explicit null"))
        }
        scalar => Ok(Element::item(scalar)),
    }
}

fn by_keys(
    list: Shape<'_>,
    keys: impl ExactSizeIterator<Item = SmolStr> + Clone,
    item: &Value,
) -> Result<Element, TypedError> {
    let map = match item {
        Value::Map(map) => map,
        Value::Null => {
            return Err(TypedError::one("associative list with keys may not have a null element"));
        }
        _ => return Err(TypedError::one("associative list with keys may not have non-map elements")),
    };
    let mut found = Vec::with_capacity(keys.len());
    for key in keys.clone() {
        if let Some(value) = map.get(&key).or_else(|| list.key_default(&key)) {
            found.push((key, value.clone()));
        }
    }
    if found.is_empty() && keys.len() > 0 {
        let keys: Vec<String> = keys.map(|key| crate::validation::quote(&key)).collect();
        return Err(TypedError::one(format!(
            "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
            keys.join(" ")
        )));
    }
    Ok(Element::key(found))
}
