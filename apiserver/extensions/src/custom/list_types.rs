//! Lists that are sets or maps: no value, and no key, occurs twice.

use super::values::equal;
use mainstay_apiserver_machinery::json;
use mainstay_apiserver_machinery::structural::{ListType, Structural};
use mainstay_apiserver_machinery::validation::{ErrorList, Path};
use mainstay_apiserver_machinery::value::{Map, Value};
use std::collections::HashSet;

/// Checks every list in `value` that has a type.
pub fn check_list_types(value: &Value, schema: &Structural, path: &Path, errors: &mut ErrorList) {
    match value {
        Value::List(items) => {
            match schema.list_type() {
                ListType::Set => check_set(items, path, errors),
                ListType::Map => check_map(items, schema, path, errors),
                ListType::Atomic => {}
            }
            if let Some(within) = schema.items.as_deref() {
                for (at, item) in items.iter().enumerate() {
                    check_list_types(item, within, &path.index(at), errors);
                }
            }
        }
        Value::Map(map) => {
            for (name, member) in map {
                if let Some(within) = schema.property(name) {
                    check_list_types(member, within, &path.child(name), errors);
                } else if let Some(within) = schema.member(name) {
                    check_list_types(member, within, &path.key(name), errors);
                }
            }
        }
        _ => {}
    }
}

fn check_set(items: &[Value], path: &Path, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for (at, item) in items.iter().enumerate() {
        if !seen.insert(canonical(item)) {
            errors.duplicate(&path.index(at), item.clone());
        }
    }
}

fn check_map(items: &[Value], schema: &Structural, path: &Path, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for (at, item) in items.iter().enumerate() {
        let Value::Map(map) = item else {
            errors.invalid(&path.index(at), item.clone(), "must be an object for an array of list-type map");
            continue;
        };
        let default = |key: &str| schema.items.as_deref()?.property(key)?.default.as_ref();
        let keys: Map = schema
            .list_map_keys
            .iter()
            .filter_map(|key| Some((key.clone(), map.get(key).or_else(|| default(key))?.clone())))
            .collect();
        let keys = Value::Map(keys);
        if !seen.insert(canonical(&keys)) {
            errors.duplicate(&path.index(at), keys);
        }
    }
}

/// A text that is the same for equal values.
fn canonical(value: &Value) -> String {
    match value {
        Value::Float(number) if equal(value, &Value::Int(*number as i64)) => {
            json::to_string(&Value::Int(*number as i64))
        }
        other => json::to_string(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_apiserver_machinery::structural::parse;
    use mainstay_apiserver_machinery::value;

    #[test]
    fn what_occurs_twice_is_told() {
        let schema = parse(&value!({"type": "object", "properties": {
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port", "proto"],
                "items": {"type": "object", "properties": {"port": {"type": "integer"}, "proto": {"type": "string", "default": "TCP"}}}},
        }}))
        .unwrap();
        let mut errors = ErrorList::new();
        let object = value!({"set": ["a", "b", "a"], "map": [{"port": 1}, {"port": 1, "proto": "UDP"}, {"port": 1, "proto": "TCP"}]});
        check_list_types(&object, &schema, &Path::new("spec"), &mut errors);
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "spec.map[2]: Duplicate value: {\"port\":1,\"proto\":\"TCP\"}",
                "spec.set[2]: Duplicate value: \"a\""
            ]
        );
    }
}
