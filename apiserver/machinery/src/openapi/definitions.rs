//! Definitions of types: every type that the kinds reach.

use super::custom;
use super::descriptions::{Descriptions, Index};
use super::document::Dialect;
use crate::kind::Kind;
use crate::schema::{self, Base, Container, Field, Type};
use crate::value;
use crate::value::{Map, Value};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// Types that every group version refers to, besides its own.
const SHARED: [&str; 4] =
    ["meta/v1.Status", "meta/v1.DeleteOptions", "meta/v1.WatchEvent", "meta/v1.APIResourceList"];

/// What names an object's type, with a description of each.
pub(super) const TYPE_MEMBERS: [(&str, &str); 2] = [
    ("apiVersion", "The group and version of this form of the object."),
    ("kind", "The kind of the object."),
];

/// The name under which patches are defined: a map of anything.
pub(super) const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";

/// (group, version, kind) triples by type.
type Served = BTreeMap<&'static str, Vec<(&'static str, &'static str, &'static str)>>;

/// All definitions, by OpenAPI name.
pub(super) fn all(kinds: &[&'static Kind], dialect: Dialect) -> Value {
    let mut wanted: Vec<&'static Type> = SHARED.iter().filter_map(|name| schema::lookup(name)).collect();
    for kind in kinds {
        if kind.is_custom {
            let shared = ["meta/v1.ObjectMeta", "meta/v1.ListMeta", "autoscaling/v1.Scale"];
            wanted.extend(shared.iter().filter_map(|name| schema::lookup(name)));
            continue;
        }
        wanted.push(kind.schema());
        wanted.extend(list_type(kind));
        wanted.extend(kind.subresources.iter().filter_map(|sub| schema::lookup(sub.type_name)));
    }
    let served = served(kinds);
    let mut seen = BTreeSet::new();
    let mut definitions = Vec::new();
    for kind in kinds.iter().filter(|kind| kind.is_custom) {
        definitions.push((custom::name(kind).into(), custom::definition(kind, dialect)));
        definitions.push((custom::list_name(kind).into(), custom::list_definition(kind, dialect)));
    }
    let descriptions = Descriptions::unpack();
    let texts = descriptions.index();
    while let Some(ty) = wanted.pop() {
        if !seen.insert(ty.name) {
            continue;
        }
        definitions.push((ty.openapi_name.into(), definition(ty, &served, &texts, dialect)));
        wanted.extend(ty.json_fields().filter_map(referenced));
    }
    let patch = value!({"type": "object", "description": "A change to an object, in the form that the content type says."});
    definitions.push((PATCH.into(), patch));
    Value::Map(Map::from_pairs(definitions))
}

/// The OpenAPI name of the kind's objects.
pub(super) fn name(kind: &Kind) -> Cow<'static, str> {
    if kind.is_custom { custom::name(kind).into() } else { kind.schema().openapi_name.into() }
}

/// The OpenAPI name of a list of these, where there are lists.
pub(super) fn list_name(kind: &Kind) -> Option<Cow<'static, str>> {
    if kind.is_custom {
        return Some(custom::list_name(kind).into());
    }
    list_type(kind).map(|ty| ty.openapi_name.into())
}

/// The type of a list of these.
pub(super) fn list_type(kind: &Kind) -> Option<&'static Type> {
    if !kind.has_verb("list") {
        return None;
    }
    let (group_version, _) = kind.type_name.rsplit_once('.')?;
    schema::lookup(&format!("{group_version}.{}", kind.list_kind))
}

fn referenced(field: &'static Field) -> Option<&'static Type> {
    field.ty()
}

fn served(kinds: &[&'static Kind]) -> Served {
    let mut served = Served::new();
    for kind in kinds.iter().filter(|kind| !kind.is_custom) {
        served.entry(kind.schema().name).or_default().push((kind.group, kind.version, kind.kind));
        if let Some(list) = list_type(kind) {
            served.entry(list.name).or_default().push((kind.group, kind.version, kind.list_kind));
        }
        for sub in kind.subresources {
            if let Some(ty) = schema::lookup(sub.type_name) {
                served.entry(ty.name).or_default().push((sub.group, sub.version, sub.kind));
            }
        }
        for (name, shared) in
            [("meta/v1.DeleteOptions", "DeleteOptions"), ("meta/v1.WatchEvent", "WatchEvent")]
        {
            served.entry(name).or_default().push((kind.group, kind.version, shared));
        }
    }
    for name in ["Status", "DeleteOptions", "WatchEvent", "APIResourceList"] {
        let ty = SHARED.iter().find(|shared| shared.ends_with(name)).copied().unwrap_or_default();
        served.entry(ty).or_default().push(("", "v1", name));
    }
    for names in served.values_mut() {
        names.sort_unstable();
        names.dedup();
    }
    served
}

fn definition(ty: &'static Type, served: &Served, texts: &Index<'_>, dialect: Dialect) -> Value {
    let mut out = special(ty, dialect).unwrap_or_else(|| structure(ty, texts, dialect));
    let text = texts.of_type(ty.openapi_name).or_else(|| list_text(ty, ""));
    if let Some(text) = text {
        out.set_path(&["description"], text);
    }
    if let Some(names) = served.get(ty.name) {
        let names: Value = names
            .iter()
            .map(|(group, version, kind)| value!({"group": *group, "version": *version, "kind": *kind}))
            .collect();
        out.set_path(&["x-kubernetes-group-version-kind"], names);
    }
    if ty.is_atomic {
        out.set_path(&["x-kubernetes-map-type"], "atomic");
    }
    out
}

/// Types that are not what their fields say.
fn special(ty: &'static Type, dialect: Dialect) -> Option<Value> {
    let v3 = dialect == Dialect::V3;
    Some(match ty.name {
        "meta/v1.Time" | "meta/v1.MicroTime" => value!({"type": "string", "format": "date-time"}),
        "quantity.Quantity" if v3 => value!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        "quantity.Quantity" | "meta/v1.Duration" => value!({"type": "string"}),
        "intstr.IntOrString" if v3 => {
            value!({"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"})
        }
        "intstr.IntOrString" => value!({"type": "string", "format": "int-or-string"}),
        "runtime.RawExtension" | "meta/v1.FieldsV1" => value!({"type": "object"}),
        name if ty.short_name() == "JSON" || name.contains(".JSONSchemaPropsOr") => {
            value!({"description": "Any value that its place allows."})
        }
        _ => return None,
    })
}

/// Lists are one generic type where the descriptions come from: they are described here.
fn list_text(ty: &Type, field: &str) -> Option<String> {
    let items = ty.short_name().strip_suffix("List")?;
    Some(match field {
        "" => format!("{} is a list of {items} objects.", ty.short_name()),
        "items" => format!("The {items} objects."),
        "metadata" => "Where the list stands in time, and how to read on.".to_owned(),
        _ => return None,
    })
}

fn structure(ty: &'static Type, texts: &Index<'_>, dialect: Dialect) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    if ty.has_type_meta {
        for (name, description) in TYPE_MEMBERS {
            properties.insert(name, value!({"type": "string", "description": description}));
        }
    }
    for field in ty.json_fields() {
        let text = texts.of_field(ty.openapi_name, field.name).or_else(|| list_text(ty, field.name));
        properties.insert(field.name, property(field, text, dialect));
        if field.is_required() {
            required.push(field.name);
        }
    }
    let mut out = value!({"type": "object"});
    if !properties.is_empty() {
        out.set_path(&["properties"], properties);
    }
    if !required.is_empty() {
        required.sort_unstable();
        out.set_path(&["required"], required);
    }
    out
}

fn property(field: &'static Field, text: Option<String>, dialect: Dialect) -> Value {
    let mut out = match field.container {
        Container::One => element(field, dialect, true),
        Container::List => value!({"type": "array", "items": element(field, dialect, false)}),
        Container::Map if field.is_wrapped() => {
            value!({"type": "object", "additionalProperties": {"type": "array", "items": element(field, dialect, false)}})
        }
        Container::Map => value!({"type": "object", "additionalProperties": element(field, dialect, false)}),
    };
    if let Some(text) = text {
        out.set_path(&["description"], text);
    }
    if let Some(default) = &field.default {
        out.set_path(&["default"], default);
    } else if dialect == Dialect::V3
        && field.base == Base::Struct
        && !field.is_pointer()
        && field.container == Container::One
    {
        out.set_path(&["default"], Value::map());
    }
    for (name, text) in [
        ("x-kubernetes-list-type", field.list_type),
        ("x-kubernetes-map-type", field.map_type),
        ("x-kubernetes-patch-merge-key", field.patch_merge_key),
    ] {
        if !text.is_empty() {
            out.set_path(&[name], text);
        }
    }
    if !field.list_map_keys.is_empty() {
        out.set_path(&["x-kubernetes-list-map-keys"], field.list_map_keys.to_vec());
    }
    if !field.patch_strategy.is_empty() {
        out.set_path(&["x-kubernetes-patch-strategy"], field.patch_strategy.join(","));
    }
    with_bare_reference(out)
}

/// A reference that nothing stands beside needs no `allOf`.
fn with_bare_reference(out: Value) -> Value {
    match out.path_list(&["allOf"]) {
        [only] if out.as_map().is_some_and(|map| map.len() == 1) => only.clone(),
        _ => out,
    }
}

fn element(field: &'static Field, dialect: Dialect, alone: bool) -> Value {
    let referred = match field.base {
        Base::Struct | Base::SchemaOrBool | Base::SchemaOrArray | Base::SchemaOrStrings => field.ty(),
        Base::Time => schema::lookup("meta/v1.Time"),
        Base::MicroTime => schema::lookup("meta/v1.MicroTime"),
        Base::Quantity => schema::lookup("quantity.Quantity"),
        Base::IntOrString => schema::lookup("intstr.IntOrString"),
        Base::Duration => schema::lookup("meta/v1.Duration"),
        Base::Raw => field.ty().or_else(|| schema::lookup("runtime.RawExtension")),
        _ => None,
    };
    if let Some(ty) = referred {
        let reference = value!({"$ref": dialect.reference(ty.openapi_name)});
        // Beside a reference nothing counts in v3, so it is put one level down.
        return if dialect == Dialect::V3 && alone { value!({"allOf": [reference]}) } else { reference };
    }
    let (ty, format) = match field.base {
        Base::Bool => ("boolean", ""),
        Base::Int32 => ("integer", "int32"),
        Base::Int64 => ("integer", "int64"),
        Base::Float => ("number", "double"),
        Base::Bytes => ("string", "byte"),
        Base::Any => ("object", ""),
        _ => ("string", ""),
    };
    let mut out = value!({"type": ty});
    if !format.is_empty() {
        out.set_path(&["format"], format);
    }
    if !field.enum_values.is_empty() {
        let mut values = field.enum_values.to_vec();
        values.sort_unstable();
        out.set_path(&["enum"], values);
    }
    out
}
