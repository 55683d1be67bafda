//! What makes a schema structural: types outside of logical words, and nothing there that is not also outside.

use mainstay_apiserver_machinery::structural::{Additional, SchemaType, Structural};
use mainstay_apiserver_machinery::validation::{ErrorList, FieldError, Path};

use crate::custom::Patterns;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// Every violation, sorted by its text.
pub(super) fn violations(schema: &Structural, path: &Path) -> Vec<FieldError> {
    let mut errors = ErrorList::new();
    invariants(schema, Level::Root, path, &mut errors);
    completeness(schema, path, &mut errors);
    let mut list: Vec<FieldError> = errors.iter().cloned().collect();
    list.sort_by_key(ToString::to_string);
    list
}

fn invariants(schema: &Structural, level: Level, path: &Path, errors: &mut ErrorList) {
    if schema.schema_type == SchemaType::Array && schema.items.is_none() {
        errors.required(&path.child("items"), "must be specified");
    }
    if let Some(items) = schema.items.as_deref() {
        invariants(items, Level::Item, &path.child("items"), errors);
    }
    for (name, property) in &schema.properties {
        invariants(property, Level::Field, &path.child("properties").key(name), errors);
    }
    if schema.additional != Additional::None {
        let path = path.child("additionalProperties");
        if level == Level::Root {
            errors.forbidden(&path, "must not be used at the root");
        }
        if let Additional::Schema(all) = &schema.additional {
            invariants(all, Level::Field, &path, errors);
        }
    }
    extensions(schema, path, errors);
    let skip_any = is_int_or_string(&schema.checks.any_of);
    let skip_all = schema.checks.all_of.first().is_some_and(|first| is_int_or_string(&first.checks.any_of));
    values(schema, (skip_any, skip_all), path, errors);
    types(schema, level, path, errors);
    metadata(schema, level, path, errors);
}

fn extensions(schema: &Structural, path: &Path, errors: &mut ErrorList) {
    let detail = "must be false if x-kubernetes-int-or-string is true";
    if schema.is_int_or_string && schema.preserves_unknown {
        errors.invalid(&path.child("x-kubernetes-preserve-unknown-fields"), true, detail);
    }
    if schema.is_int_or_string && schema.is_embedded {
        errors.invalid(&path.child("x-kubernetes-embedded-resource"), true, detail);
    }
}

fn types(schema: &Structural, level: Level, path: &Path, errors: &mut ErrorList) {
    let at = path.child("type");
    let name = schema.schema_type.as_str();
    let is_object = schema.schema_type == SchemaType::Object;
    if schema.is_embedded && !is_object {
        let detail = "must be object if x-kubernetes-embedded-resource is true";
        if name.is_empty() { errors.required(&at, detail) } else { errors.invalid(&at, name, detail) }
    } else if name.is_empty() && !schema.is_int_or_string && !schema.preserves_unknown {
        let detail = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        errors.required(&at, detail);
    }
    if schema.is_embedded && schema.additional != Additional::None {
        let detail = "must not be used if x-kubernetes-embedded-resource is set";
        errors.forbidden(&path.child("additionalProperties"), detail);
    }
    if level == Level::Root && !name.is_empty() && !is_object {
        errors.invalid(&at, name, "must be object at the root");
    }
    if schema.is_embedded && !schema.preserves_unknown && schema.properties.is_empty() {
        let detail = "must not be empty if x-kubernetes-embedded-resource is true without \
                      x-kubernetes-preserve-unknown-fields";
        errors.required(&path.child("properties"), detail);
    }
}

/// The schema may restrict only the name of an object's own metadata.
fn metadata(schema: &Structural, level: Level, path: &Path, errors: &mut ErrorList) {
    let is_resource = level == Level::Root || schema.is_embedded;
    let at = |name: &str| path.child("properties").key(name);
    for name in ["kind", "apiVersion"] {
        if let Some(property) = schema.property(name).filter(|_| is_resource)
            && property.schema_type != SchemaType::String
        {
            errors.invalid(&at(name).child("type"), property.schema_type.as_str(), "must be string");
        }
    }
    let Some(metadata) = schema.property("metadata") else { return };
    if is_resource && metadata.schema_type != SchemaType::Object {
        errors.invalid(&at("metadata").child("type"), metadata.schema_type.as_str(), "must be object");
    }
    if level == Level::Root {
        let names_only =
            metadata.properties.iter().all(|(name, _)| matches!(name.as_str(), "name" | "generateName"));
        let bare = Structural {
            schema_type: SchemaType::Any,
            properties: Vec::new(),
            default: None,
            has_defaults: false,
            has_rules: false,
            ..metadata.clone()
        };
        if !names_only || bare != Structural::default() {
            let detail = "must not specify anything other than name and generateName, but metadata is implicitly \
                          specified";
            errors.forbidden(&at("metadata"), detail);
        }
    }
}

/// The two forms in which int-or-string may be written with types below a logical word.
fn is_int_or_string(any_of: &[Structural]) -> bool {
    let only = |wanted: SchemaType| Structural { schema_type: wanted, ..Structural::default() };
    *any_of == [only(SchemaType::Integer), only(SchemaType::String)]
}

fn values(schema: &Structural, (skip_any, skip_all): (bool, bool), path: &Path, errors: &mut ErrorList) {
    let checks = &schema.checks;
    if !skip_any {
        for (at, one) in checks.any_of.iter().enumerate() {
            nested(one, false, &path.child("anyOf").index(at), errors);
        }
    }
    for (at, one) in checks.all_of.iter().enumerate() {
        nested(one, skip_all && at == 0, &path.child("allOf").index(at), errors);
    }
    for (at, one) in checks.one_of.iter().enumerate() {
        nested(one, false, &path.child("oneOf").index(at), errors);
    }
    if let Some(not) = checks.not.as_deref() {
        nested(not, false, &path.child("not"), errors);
    }
    if !checks.pattern.is_empty()
        && let Err(why) = Patterns::compile(&checks.pattern)
    {
        let detail = format!("must be a valid regular expression, but isn't: {why}");
        errors.invalid(&path.child("pattern"), &checks.pattern, &detail);
    }
}

/// Below a logical word only values are restricted.
fn nested(schema: &Structural, skip_any: bool, path: &Path, errors: &mut ErrorList) {
    values(schema, (skip_any, false), path, errors);
    if let Some(items) = schema.items.as_deref() {
        nested(items, false, &path.child("items"), errors);
    }
    for (name, property) in &schema.properties {
        nested(property, false, &path.child("properties").key(name), errors);
    }
    let empty = "must be empty to be structural";
    let undefined = "must be undefined to be structural";
    let is_false = "must be false to be structural";
    for (is_set, name, detail) in [
        (schema.schema_type != SchemaType::Any, "type", empty),
        (schema.additional != Additional::None, "additionalProperties", undefined),
        (schema.default.is_some(), "default", undefined),
        (!schema.title.is_empty(), "title", empty),
        (!schema.description.is_empty(), "description", empty),
        (schema.nullable, "nullable", is_false),
        (schema.preserves_unknown, "x-kubernetes-preserve-unknown-fields", is_false),
        (schema.is_embedded, "x-kubernetes-embedded-resource", is_false),
        (schema.is_int_or_string, "x-kubernetes-int-or-string", is_false),
        (!schema.list_map_keys.is_empty(), "x-kubernetes-list-map-keys", empty),
        (schema.list_type.is_some(), "x-kubernetes-list-type", undefined),
        (schema.map_type.is_some(), "x-kubernetes-map-type", undefined),
        (!schema.rules.is_empty(), "x-kubernetes-validations", empty),
    ] {
        if is_set {
            errors.forbidden(&path.child(name), detail);
        }
    }
    if schema.property("metadata").is_some() {
        errors.forbidden(
            &path.child("properties").key("metadata"),
            "must not be specified in a nested context",
        );
    }
}

/// Every field that a logical word restricts is also defined outside of it.
fn completeness(schema: &Structural, path: &Path, errors: &mut ErrorList) {
    logical(schema, Some(schema), (path, path), errors);
    for (name, property) in &schema.properties {
        completeness(property, &path.child("properties").key(name), errors);
    }
    if let Some(items) = schema.items.as_deref() {
        completeness(items, &path.child("items"), errors);
    }
    if let Additional::Schema(all) = &schema.additional {
        completeness(all, &path.child("additionalProperties"), errors);
    }
}

fn logical(
    word: &Structural,
    schema: Option<&Structural>,
    (path, word_path): (&Path, &Path),
    errors: &mut ErrorList,
) {
    let checks = &word.checks;
    if let Some(not) = checks.not.as_deref() {
        defined(not, schema, (path, &word_path.child("not")), errors);
    }
    for (name, list) in [("allOf", &checks.all_of), ("anyOf", &checks.any_of), ("oneOf", &checks.one_of)] {
        for (at, one) in list.iter().enumerate() {
            defined(one, schema, (path, &word_path.child(name).index(at)), errors);
        }
    }
}

fn defined(
    word: &Structural,
    schema: Option<&Structural>,
    (path, word_path): (&Path, &Path),
    errors: &mut ErrorList,
) {
    let Some(schema) = schema else {
        return errors.required(path, &format!("because it is defined in {word_path}"));
    };
    logical(word, Some(schema), (path, word_path), errors);
    if let Some(items) = word.items.as_deref() {
        defined(items, schema.items.as_deref(), (&path.child("items"), &word_path.child("items")), errors);
    }
    for (name, property) in &word.properties {
        let place = path.child("properties").key(name);
        defined(property, schema.property(name), (&place, &word_path.child("properties").key(name)), errors);
    }
}
