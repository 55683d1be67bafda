//! Definitions of custom kinds: the schema of their definition, made whole with type and metadata.

use super::document::Dialect;
use crate::kind::Kind;
use crate::value;
use crate::value::Value;

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";

/// Words of schemas that OpenAPI v2 lacks.
const NOT_IN_V2: [&str; 5] = ["nullable", "anyOf", "oneOf", "allOf", "not"];

/// The OpenAPI name of a custom kind: `com.example.v1.Widget` for the group `example.com`.
pub(super) fn name(kind: &Kind) -> String {
    let mut parts: Vec<&str> = kind.group.split('.').collect();
    parts.reverse();
    format!("{}.{}.{}", parts.join("."), kind.version, kind.kind)
}

/// The OpenAPI name of a list of these.
pub(super) fn list_name(kind: &Kind) -> String {
    let name = name(kind);
    let package = name.strip_suffix(kind.kind).unwrap_or_default();
    format!("{package}{}", kind.list_kind)
}

/// The definition of the kind.
pub(super) fn definition(kind: &Kind, dialect: Dialect) -> Value {
    let mut out = kind.rules.openapi().unwrap_or_else(|| value!({"type": "object"}));
    if dialect == Dialect::V2 {
        plain(&mut out);
    }
    let properties = out.make_map().get_or_insert_map("properties");
    set_type(properties);
    properties.insert("metadata", reference(OBJECT_META, dialect));
    set_kind(&mut out, kind, kind.kind);
    out
}

/// The definition of a list of these.
pub(super) fn list_definition(kind: &Kind, dialect: Dialect) -> Value {
    let mut out = value!({
        "type": "object",
        "description": format!("{} is a list of {}", kind.list_kind, kind.kind),
        "required": ["items"],
        "properties": {
            "metadata": reference(LIST_META, dialect),
            "items": {"type": "array", "items": reference(&name(kind), dialect), "description": "The objects."},
        },
    });
    set_type(out.make_map().get_or_insert_map("properties"));
    set_kind(&mut out, kind, kind.list_kind);
    out
}

fn set_type(properties: &mut crate::value::Map) {
    for (name, description) in super::definitions::TYPE_MEMBERS {
        properties.insert(name, value!({"type": "string", "description": description}));
    }
}

fn set_kind(out: &mut Value, kind: &Kind, shown: &str) {
    let names = value!([{"group": kind.group, "version": kind.version, "kind": shown}]);
    out.set_path(&["x-kubernetes-group-version-kind"], names);
}

fn reference(name: &str, dialect: Dialect) -> Value {
    let reference = value!({"$ref": dialect.reference(name)});
    if dialect == Dialect::V3 { value!({"allOf": [reference]}) } else { reference }
}

/// Makes a schema one of OpenAPI v2: what v2 cannot say is left open.
fn plain(schema: &mut Value) {
    let flag = |name: &str| schema.path_bool(&[name]).unwrap_or_default();
    let is_open = ["nullable", "x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields"];
    let is_open = is_open.iter().any(|name| flag(name));
    let Some(map) = schema.as_map_mut() else { return };
    for word in NOT_IN_V2 {
        map.remove(word);
    }
    if is_open {
        for word in ["type", "properties", "items", "additionalProperties"] {
            map.remove(word);
        }
    }
    for name in ["items", "additionalProperties"] {
        if let Some(inner) = map.get_mut(name) {
            plain(inner);
        }
    }
    if let Some(properties) = map.get_mut("properties").and_then(Value::as_map_mut) {
        properties.values_mut().for_each(plain);
    }
}
