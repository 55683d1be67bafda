//! Whole objects inside of custom resources (`x-kubernetes-embedded-resource`): they have a type and sound metadata.

use mainstay_apiserver_machinery::structural::Structural;
use mainstay_apiserver_machinery::validation::{ErrorList, Path, validate_annotations, validate_labels};
use mainstay_apiserver_machinery::value::Value;

/// Checks every embedded resource in `value`.
pub(crate) fn check_embedded(value: &Value, schema: &Structural, path: &Path, errors: &mut ErrorList) {
    match value {
        Value::Map(map) => {
            if schema.is_embedded {
                check_one(value, path, errors);
            }
            for (name, member) in map {
                if let Some(within) = schema.property(name) {
                    check_embedded(member, within, &path.child(name), errors);
                } else if let Some(within) = schema.member(name) {
                    check_embedded(member, within, &path.key(name), errors);
                }
            }
        }
        Value::List(items) => {
            if let Some(within) = schema.items.as_deref() {
                for (at, item) in items.iter().enumerate() {
                    check_embedded(item, within, &path.index(at), errors);
                }
            }
        }
        _ => {}
    }
}

fn check_one(object: &Value, path: &Path, errors: &mut ErrorList) {
    for name in ["apiVersion", "kind"] {
        if object.path_str(&[name]).unwrap_or_default().is_empty() {
            errors.required(&path.child(name), "must not be empty");
        }
    }
    let metadata = path.child("metadata");
    match object.get("metadata") {
        None | Some(Value::Null) => {}
        Some(Value::Map(map)) => {
            validate_labels(map.get("labels").and_then(Value::as_map), &metadata.child("labels"), errors);
            validate_annotations(
                map.get("annotations").and_then(Value::as_map),
                &metadata.child("annotations"),
                errors,
            );
        }
        Some(other) => errors.invalid(&metadata, other.clone(), "must be an object"),
    }
}
