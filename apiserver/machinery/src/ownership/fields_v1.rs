//! `fieldsV1`: a field set as JSON. Each key is an element (`f:`, `k:`, `v:`, `i:`), an empty object a path that ends,
//! the key `.` a path that ends where others go on. Reading takes any JSON that the decoder took (its depth is bounded
//! there) and never fails on what this module wrote.

use super::element::{Element, ElementError};
use super::field_set::{Entry, FieldSet};
use crate::value::{Map, Value};
use smol_str::SmolStr;
use std::sync::Arc;

/// Why a value is not a field set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldsError {
    /// A key that is no element.
    #[error("parsing key as path element")]
    Element(#[from] ElementError),
    /// A value that is neither an object nor null.
    #[error("expected an object, found {0}")]
    NotAnObject(&'static str),
}

impl FieldSet {
    /// The set that `fieldsV1` holds.
    ///
    /// # Errors
    /// JSON that is no field set.
    pub fn from_fields_v1(fields: &Value) -> Result<Self, FieldsError> {
        read(fields).map(|(set, _)| set)
    }

    /// The set as `fieldsV1`.
    pub fn to_fields_v1(&self) -> Value {
        Value::Map(write(self, false))
    }

    /// Whether a path of this set is in the one that `fieldsV1` holds, without reading all of that. `fields` must have
    /// been written by [`FieldSet::to_fields_v1`].
    pub(super) fn meets(&self, fields: &Value) -> bool {
        self.entries.iter().any(|entry| {
            let Some(found) = fields.get(&entry.element.text()) else { return false };
            let is_member = found.as_map().is_none_or(|map| map.is_empty() || map.contains_key("."));
            (entry.member && is_member) || entry.below.as_ref().is_some_and(|below| below.meets(found))
        })
    }
}

/// The set below a value, and whether the path to the value is itself in the set.
fn read(value: &Value) -> Result<(FieldSet, bool), FieldsError> {
    let map = match value {
        Value::Map(map) => map,
        Value::Null => return Ok((FieldSet::new(), true)),
        other => return Err(FieldsError::NotAnObject(other.json_kind())),
    };
    let mut entries = Vec::with_capacity(map.len());
    let mut member = false;
    for (key, value) in map {
        if key == "." {
            member = true;
            continue;
        }
        let Some(element) = Element::parse(key)? else { continue };
        let (below, is_member) = read(value)?;
        let below = (!below.is_empty()).then(|| Arc::new(below));
        entries.extend(Entry::of(element, is_member, below));
    }
    let set = FieldSet::from_entries(entries);
    let member = member || set.is_empty();
    Ok((set, member))
}

fn write(set: &FieldSet, member: bool) -> Map {
    let mut map = Vec::with_capacity(set.entries.len() + 1);
    if member && !set.is_empty() {
        map.push((SmolStr::new_static("."), Value::map()));
    }
    for entry in &set.entries {
        let below = entry.below.as_ref().map_or_else(Map::new, |below| write(below, entry.member));
        map.push((entry.element.text(), Value::Map(below)));
    }
    Map::from_pairs(map)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{decode_free, to_string};
    use proptest::prelude::*;

    fn round(text: &str) -> String {
        let set = FieldSet::from_fields_v1(&decode_free(text.as_bytes()).unwrap()).unwrap();
        to_string(&set.to_fields_v1())
    }

    #[test]
    fn sets_read_and_write_as_upstream_does() {
        for text in [
            "{}",
            r#"{"f:a":{}}"#,
            r#"{"f:metadata":{"f:labels":{".":{},"f:app":{}}},"f:spec":{"f:replicas":{}}}"#,
            r#"{"f:ports":{".":{},"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{}}}}"#,
            r#"{"f:finalizers":{".":{},"v:\"a/b\"":{},"v:true":{}},"i:3":{}}"#,
        ] {
            assert_eq!(round(text), text);
        }
        assert_eq!(round(r#"{"z:new":{"f:a":{}},"f:a":null}"#), r#"{"f:a":{}}"#, "unknown tags are left out");
        assert_eq!(round(r#"{"k:{\"b\":1,\"a\":2}":{}}"#), r#"{"k:{\"a\":2,\"b\":1}":{}}"#);
    }

    #[test]
    fn what_is_no_set_is_refused() {
        for text in [
            "3",
            r#"{"f:a":1}"#,
            r#"{"a":{}}"#,
            r#"{"":{}}"#,
            r#"{"k:[]":{}}"#,
            r#"{"v:{":{}}"#,
            r#"{"i:x":{}}"#,
        ] {
            assert!(FieldSet::from_fields_v1(&decode_free(text.as_bytes()).unwrap()).is_err(), "{text}");
        }
    }

    /// Keys that look like elements, and some that nearly do.
    fn keys() -> impl Strategy<Value = String> {
        prop_oneof![
            "f:[a-z]{0,2}",
            "[kvi]:.{0,6}",
            Just(".".to_owned()),
            (0..3_i64, 0..2_i64).prop_map(|(a, b)| format!(r#"k:{{"a":{a},"b":"{b}"}}"#)),
            (0..3_i64).prop_map(|a| format!("v:{a}")),
            ".{0,4}",
        ]
    }

    fn any_fields() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![4 => Just(Value::map()), 1 => Just(Value::Null), 1 => any::<i64>().prop_map(Value::Int)];
        leaf.prop_recursive(6, 64, 5, |inner| {
            proptest::collection::vec((keys(), inner), 0..5)
                .prop_map(|pairs| Value::Map(pairs.into_iter().collect()))
        })
    }

    proptest! {
        #[test]
        fn any_input_is_a_set_or_an_error(fields in any_fields()) {
            if let Ok(set) = FieldSet::from_fields_v1(&fields) {
                let again = FieldSet::from_fields_v1(&set.to_fields_v1()).unwrap();
                prop_assert_eq!(&again, &set);
                prop_assert!(set.is_empty() || set.meets(&set.to_fields_v1()));
            }
        }

        #[test]
        fn operations_are_those_of_sets_of_paths(a in any_fields(), b in any_fields()) {
            let (Ok(a), Ok(b)) = (FieldSet::from_fields_v1(&a), FieldSet::from_fields_v1(&b)) else { return Ok(()) };
            let model = |set: &FieldSet| {
                let mut paths = std::collections::BTreeSet::new();
                set.each(&mut |path| paths.extend([path.iter().map(Element::text).collect::<Vec<_>>()]));
                paths
            };
            let (left, right) = (model(&a), model(&b));
            prop_assert_eq!(model(&a.union(&b)), &left | &right);
            prop_assert_eq!(model(&a.intersection(&b)), &left & &right);
            prop_assert_eq!(model(&a.difference(&b)), &left - &right);
            prop_assert_eq!(b.meets(&a.to_fields_v1()), !(&left & &right).is_empty());
            prop_assert_eq!(a.len(), left.len());
        }
    }
}
