//! [`merge`]: an object with what a client applies laid over it. Nothing is removed here; where both state a leaf, the
//! applied one stays. Items of a list keep the order of the object, unless the applied order says otherwise.

use super::element::Element;
use super::items;
use super::shape::{Shape, Walk};
use super::typed_error::TypedError;
use crate::value::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// `live` with `config` laid over it; both of that shape.
///
/// # Errors
/// Items of a list that cannot be told apart, on the applied side.
pub fn merge(shape: Shape<'_>, live: &Value, config: &Value) -> Result<Value, TypedError> {
    Ok(join(shape, Some(live), Some(config))?.unwrap_or_default())
}

fn join(shape: Shape<'_>, live: Option<&Value>, config: Option<&Value>) -> Result<Option<Value>, TypedError> {
    let walk = shape.walk(if config.is_some_and(|v| !v.is_null()) { config } else { live });
    let map = |value: Option<&Value>| value.and_then(Value::as_map).is_some_and(|map| !map.is_empty());
    let list = |value: Option<&Value>| value.and_then(Value::as_list).is_some_and(|list| !list.is_empty());
    match walk {
        Walk::Map if map(live) || map(config) => members(shape, live, config),
        Walk::List if list(live) || list(config) => listed(
            shape,
            live.and_then(Value::as_list).unwrap_or_default(),
            config.and_then(Value::as_list).unwrap_or_default(),
        ),
        _ => Ok(config.or(live).cloned()),
    }
}

fn members(
    shape: Shape<'_>,
    live: Option<&Value>,
    config: Option<&Value>,
) -> Result<Option<Value>, TypedError> {
    static EMPTY: Map = Map::new();
    let (live, config) =
        (live.and_then(Value::as_map).unwrap_or(&EMPTY), config.and_then(Value::as_map).unwrap_or(&EMPTY));
    let mut out = Vec::with_capacity(live.len().max(config.len()));
    let names = live.keys().chain(config.keys().filter(|name| !live.contains_key(name)));
    for name in names {
        let merged = match (shape.member(name), config.get(name)) {
            (_, None) => live.get(name).cloned(),
            (None, stated) => stated.cloned(),
            (Some((child, _)), stated) => join(child, live.get(name), stated)
                .map_err(|error| error.at(&Element::Field(name.clone())))?,
        };
        out.extend(merged.map(|value| (name.clone(), value)));
    }
    Ok((!out.is_empty()).then(|| Value::Map(Map::from_pairs(out))))
}

/// One side of a list: its elements in order and where each stands; duplicates stand nowhere.
struct Side<'v> {
    list: &'v [Value],
    elements: Vec<Element>,
    places: BTreeMap<Element, Option<usize>>,
}

impl<'v> Side<'v> {
    fn new(shape: Shape<'_>, list: &'v [Value], duplicates: bool) -> Result<Self, TypedError> {
        let elements = items::elements(shape, list)?;
        let mut places = BTreeMap::new();
        for (at, element) in elements.iter().enumerate() {
            if places.insert(element.clone(), Some(at)).is_some() {
                if !duplicates {
                    return Err(TypedError::one(format!("duplicate entries for key {element}")));
                }
                places.insert(element.clone(), None);
            }
        }
        Ok(Self { list, elements, places })
    }

    fn holds(&self, element: &Element) -> bool {
        self.places.contains_key(element)
    }

    fn item(&self, element: &Element) -> Option<&'v Value> {
        self.list.get((*self.places.get(element)?)?)
    }
}

/// Walks both lists at once, as upstream does: equal steps merge; items of the object that the client does not state
/// are taken in their place; a shared item waits until the client's order comes to it.
fn listed(shape: Shape<'_>, live: &[Value], config: &[Value]) -> Result<Option<Value>, TypedError> {
    let item_shape = shape.item();
    let (left, right) = (Side::new(shape, live, true)?, Side::new(shape, config, false)?);
    let mut shared = right.elements.iter().filter(|element| left.holds(element));
    let mut next_shared = shared.next();
    let mut merged: BTreeSet<&Element> = BTreeSet::new();
    let mut out = Vec::with_capacity(live.len().max(config.len()));
    let mut put = |element: &Element, one: Option<&Value>, two: Option<&Value>| {
        // Items that cannot be told apart have no side to merge with.
        if one.is_none() && two.is_none() {
            return Ok(());
        }
        out.extend(join(item_shape, one, two).map_err(|error| error.at(element))?);
        Ok(())
    };
    let (mut l, mut r) = (0, 0);
    loop {
        let (lhs, rhs) = (left.elements.get(l), right.elements.get(r));
        if let (Some(a), Some(b)) = (lhs, rhs) {
            if a == b {
                merged.insert(a);
                put(a, left.item(a), right.item(a))?;
                (l, r) = (l + 1, r + 1);
                next_shared = shared.next();
                continue;
            }
            if right.holds(a) && next_shared.is_some_and(|next| next != a) {
                l += 1;
                continue;
            }
        }
        if let Some(a) = lhs {
            if !right.holds(a) {
                put(a, left.list.get(l), None)?;
                l += 1;
                continue;
            }
            if merged.contains(a) {
                l += 1;
            }
        }
        let Some(b) = rhs else {
            if lhs.is_none() {
                break;
            }
            continue;
        };
        merged.insert(b);
        put(b, left.item(b), right.item(b))?;
        r += 1;
        if next_shared == Some(b) {
            next_shared = shared.next();
        }
    }
    Ok((!out.is_empty()).then_some(Value::List(out)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{decode_free, to_string};
    use crate::schema::lookup;

    fn merged(type_name: &str, live: &str, config: &str) -> String {
        let read = |text: &str| decode_free(text.as_bytes()).unwrap();
        let shape = Shape::of(lookup(type_name).unwrap());
        merge(shape, &read(live), &read(config)).map_or_else(|e| e.to_string(), |v| to_string(&v))
    }

    #[test]
    fn items_stand_where_both_sides_want_them() {
        let list = |names: &str| {
            let items: Vec<String> = names.chars().map(|n| format!(r#"{{"name":"{n}"}}"#)).collect();
            format!(r#"{{"containers":[{}]}}"#, items.join(","))
        };
        let names = |live: &str, config: &str| {
            let out = merged("core/v1.PodSpec", &list(live), &list(config));
            out.split(r#""name":""#).skip(1).filter_map(|rest| rest.chars().next()).collect::<String>()
        };
        for (live, config, want) in [
            ("abc", "a", "abc"),
            ("abc", "d", "abcd"),
            ("abc", "cba", "cba"),
            ("axbc", "cb", "axcb"),
            ("abcd", "db", "acdb"),
            ("", "ba", "ba"),
            ("ab", "", "ab"),
            ("abcd", "cxa", "bcdxa"),
        ] {
            assert_eq!(names(live, config), want, "{live} {config}");
        }
    }

    #[test]
    fn parts_merge_and_wholes_replace() {
        assert_eq!(
            merged(
                "core/v1.Service",
                r#"{"metadata":{"labels":{"a":"1","b":"2"}},"spec":{"selector":{"x":"1"},"externalIPs":["1.1.1.1"]}}"#,
                r#"{"metadata":{"labels":{"b":"3"}},"spec":{"selector":{"y":"2"},"externalIPs":["2.2.2.2"]}}"#
            ),
            r#"{"metadata":{"labels":{"a":"1","b":"3"}},"spec":{"externalIPs":["2.2.2.2"],"selector":{"y":"2"}}}"#
        );
        assert_eq!(
            merged("core/v1.ConfigMap", r#"{"data":{"a":"1"}}"#, r#"{"data":{"a":null,"b":"2"}}"#),
            r#"{"data":{"a":null,"b":"2"}}"#
        );
        assert_eq!(
            merged(
                "core/v1.PodSpec",
                r#"{"containers":[{"name":"a","ports":[{"containerPort":80,"protocol":"UDP"},{"containerPort":80,"protocol":"TCP"}]}]}"#,
                r#"{"containers":[{"name":"a","ports":[{"containerPort":80,"name":"web"}]}]}"#
            ),
            r#"{"containers":[{"name":"a","ports":[{"containerPort":80,"protocol":"UDP"},{"containerPort":80,"name":"web","protocol":"TCP"}]}]}"#
        );
        assert!(
            merged("core/v1.PodSpec", r"{}", r#"{"containers":[{"name":"a"},{"name":"a"}]}"#)
                .contains("duplicate")
        );
    }
}
