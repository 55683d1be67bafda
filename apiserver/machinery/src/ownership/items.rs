//! Items of a list as elements: by their keys, with the schema's default for a key that is absent, or by their value.

use super::element::Element;
use super::shape::Items;
use super::typed_error::TypedError;
use crate::schema::Field;
use crate::value::Value;
use smol_str::SmolStr;

/// The element of an item of the list that `field` holds.
pub(super) fn element(field: &'static Field, items: Items, item: &Value) -> Result<Element, TypedError> {
    match items {
        Items::Atomic => Err(TypedError::one("invalid indexing of non-associative list")),
        Items::Set => of_set(item),
        Items::Keyed(keys) => by_keys(field, keys, item),
    }
}

/// The elements of all items, in order.
pub(super) fn elements(
    field: &'static Field,
    items: Items,
    list: &[Value],
) -> Result<Vec<Element>, TypedError> {
    let one = |(at, item): (usize, &Value)| {
        element(field, items, item).map_err(|error| TypedError::one(format!("element {at}: {error}")))
    };
    list.iter().enumerate().map(one).collect()
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

fn by_keys(field: &'static Field, keys: &[&'static str], item: &Value) -> Result<Element, TypedError> {
    let map = match item {
        Value::Map(map) => map,
        Value::Null => return Err(TypedError::one("associative list with keys may not have a null element")),
        _ => return Err(TypedError::one("associative list with keys may not have non-map elements")),
    };
    let mut found = Vec::with_capacity(keys.len());
    for key in keys {
        let stated = map.get(key);
        let default = || field.ty().and_then(|ty| ty.field(key)).and_then(|field| field.default.as_ref());
        if let Some(value) = stated.or_else(default) {
            found.push((SmolStr::new_static(key), value.clone()));
        }
    }
    if found.is_empty() && !keys.is_empty() {
        let keys: Vec<String> = keys.iter().map(|key| crate::validation::quote(key)).collect();
        return Err(TypedError::one(format!(
            "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
            keys.join(" ")
        )));
    }
    Ok(Element::key(found))
}
