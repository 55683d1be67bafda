//! Checks of one version's schema: what may stand in it, list types, defaults, structure, validation rules.

use super::defaults::check_defaults;
use super::rule_check::check_rules;
use super::structure::violations;
use mainstay_apiserver_machinery::structural;
use mainstay_apiserver_machinery::validation::{At, ErrorList, Path};
use mainstay_apiserver_machinery::value::Value;
use std::collections::HashSet;

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
/// Members of an object that are its type and metadata.
const META: [&str; 3] = ["metadata", "kind", "apiVersion"];
/// What may not stand at the root where the status is a subresource: it would not hold for the status alone.
const NOT_AT_ROOT: [&str; 19] = [
    "id",
    "$schema",
    "$ref",
    "default",
    "enum",
    "maxProperties",
    "minProperties",
    "allOf",
    "oneOf",
    "anyOf",
    "not",
    "additionalProperties",
    "patternProperties",
    "dependencies",
    "additionalItems",
    "definitions",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-map-keys",
];
const AT_ROOT: &str = "only [Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength \
     MinLength Pattern MaxItems MinItems UniqueItems MultipleOf Required Items Properties ExternalDocs Example \
     XPreserveUnknownFields XValidations] fields are allowed at the root of the schema if the status subresource is \
     enabled";

/// Checks a schema; `before` is the version that it replaces.
pub(super) fn check_version_schema(
    schema: &At<'_>,
    has_status: bool,
    before: Option<&Value>,
    errors: &mut ErrorList,
) {
    if !schema.is_set() {
        return;
    }
    let mut found = ErrorList::new();
    if has_status {
        check_root(schema, &mut found);
    }
    if schema.get("nullable").flag() {
        let path = Path::new(&format!("{}.nullable", schema.path));
        found.forbidden(&path, "nullable cannot be true at the root");
    }
    let mut unreadable = None;
    match structural::parse(schema.value) {
        Err(why) => unreadable = Some(why.to_string()),
        Ok(structural) => {
            let faults = violations(&structural, &schema.path);
            if faults.is_empty() {
                check_defaults(&structural, &schema.path, &mut found);
            }
            found.extend(faults);
        }
    }
    let is_unchanged = before.and_then(|old| old.path(&["schema", "openAPIV3Schema"])) == Some(schema.value);
    let context = Context { is_root: true, inside_meta: false, no_defaults: None };
    check(schema, &context, &mut found);
    if let (true, Some(why)) = (found.is_empty(), unreadable) {
        found.invalid(&schema.path, "", &why);
    }
    if found.is_empty()
        && !is_unchanged
        && let Ok(structural) = structural::parse(schema.value)
    {
        check_rules(&structural, &schema.path, &mut found);
    }
    errors.append(found);
}

fn check_root(schema: &At<'_>, errors: &mut ErrorList) {
    let root_type = schema.get("type");
    if !root_type.is_empty() && root_type.text() != "object" {
        root_type.invalid(
            errors,
            "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled",
        );
    }
    if NOT_AT_ROOT.iter().any(|name| schema.value.get(name).is_some_and(|value| !value.is_empty())) {
        schema.invalid(errors, AT_ROOT);
    }
}

/// Where a schema stands.
#[derive(Clone)]
struct Context {
    is_root: bool,
    /// Below the metadata or the type of a resource.
    inside_meta: bool,
    /// Why no defaults may stand here.
    no_defaults: Option<String>,
}

impl Context {
    fn below(&self) -> Self {
        Self { is_root: false, ..self.clone() }
    }
}

fn check(schema: &At<'_>, context: &Context, errors: &mut ErrorList) {
    if !schema.is_set() {
        return;
    }
    check_words(schema, context, errors);
    let below = context.below();
    let additional = schema.get("additionalProperties");
    if additional.is_set() {
        if !schema.get("properties").is_empty() && *additional.value != Value::Bool(true) {
            errors.forbidden(&additional.path, "additionalProperties and properties are mutual exclusive");
        }
        if additional.map().is_some() {
            let mut below = below.clone();
            if context.inside_meta {
                below.no_defaults =
                    Some("inside additionalProperties applying to object metadata".to_owned());
            }
            check(&additional, &below, errors);
        }
    }
    let is_resource = context.is_root || schema.get("x-kubernetes-embedded-resource").flag();
    for (name, property) in schema.get("properties").entries() {
        let mut below = below.clone();
        if is_resource && META.contains(&name) {
            below.inside_meta = true;
            if context.is_root {
                below.no_defaults = Some(format!("in top-level {name}"));
            }
        }
        check(&property, &below, errors);
    }
    check(&schema.get("not"), &below, errors);
    for word in ["allOf", "oneOf", "anyOf"] {
        for one in schema.get(word).items() {
            check(&one, &below, errors);
        }
    }
    if schema.get("items").map().is_some() {
        check(&schema.get("items"), &below, errors);
    }
    check_preserves(schema, errors);
    check_map_type(schema, errors);
    check_list_type(schema, errors);
    check_list_keys(schema, errors);
}

/// Words that no schema may have, or not here.
fn check_words(schema: &At<'_>, context: &Context, errors: &mut ErrorList) {
    let name = schema.get("type");
    if name.text() == "null" {
        errors.forbidden(&name.path, "type cannot be set to null, use nullable as an alternative");
    }
    if !name.is_empty() && !TYPES.contains(&name.text()) {
        name.one_of(errors, &TYPES);
    }
    if let Some(why) = &context.no_defaults
        && schema.has("default")
    {
        errors.forbidden(&schema.path.child("default"), &format!("must not be set {why}"));
    }
    for word in ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"] {
        if schema.value.get(word).is_some_and(|value| !value.is_empty()) {
            errors.forbidden(&schema.path.child(word), &format!("{word} is not supported"));
        }
    }
    if schema.get("items").value.as_list().is_some() {
        errors.forbidden(&schema.path.child("items"), "items must be a schema object and not an array");
    }
    if context.inside_meta && schema.get("x-kubernetes-embedded-resource").flag() {
        let path = schema.path.child("x-kubernetes-embedded-resource");
        errors.forbidden(&path, "must not be used inside of resource meta");
    }
    if schema.get("uniqueItems").flag() {
        errors.forbidden(
            &schema.path.child("uniqueItems"),
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        );
    }
}

fn check_preserves(schema: &At<'_>, errors: &mut ErrorList) {
    let preserves = schema.get("x-kubernetes-preserve-unknown-fields");
    if *preserves.value == Value::Bool(false) {
        preserves.invalid(errors, "must be true or undefined");
    }
}

/// Reports that `type` is not `wanted`.
fn wrong_type(schema: &At<'_>, detail: &str, errors: &mut ErrorList) {
    let name = schema.get("type");
    if name.is_empty() { errors.required(&name.path, detail) } else { name.invalid(errors, detail) }
}

fn check_map_type(schema: &At<'_>, errors: &mut ErrorList) {
    let map_type = schema.get("x-kubernetes-map-type");
    if !map_type.is_set() {
        return;
    }
    if schema.text_of("type") != "object" {
        wrong_type(schema, "must be object if x-kubernetes-map-type is specified", errors);
    }
    map_type.one_of(errors, &["atomic", "granular"]);
}

fn check_list_type(schema: &At<'_>, errors: &mut ErrorList) {
    let list_type = schema.get("x-kubernetes-list-type");
    let items = schema.get("items");
    if !list_type.is_set() {
        return;
    }
    if schema.text_of("type") != "array" {
        wrong_type(schema, "must be array if x-kubernetes-list-type is specified", errors);
    } else if list_type.text() == "set" && items.map().is_some() {
        let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
        let (name, wrong) = match items.text_of("type") {
            "array" => {
                let inner = items.text_of("x-kubernetes-list-type");
                ("x-kubernetes-list-type", !matches!(inner, "" | "atomic"))
            }
            "object" => ("x-kubernetes-map-type", items.text_of("x-kubernetes-map-type") != "atomic"),
            _ => ("", false),
        };
        if wrong {
            items.get(name).invalid(errors, detail);
        }
    }
    list_type.one_of(errors, &["atomic", "set", "map"]);
    let is_typed = matches!(list_type.text(), "set" | "map");
    if is_typed && items.get("nullable").flag() {
        let detail = format!("cannot be nullable when x-kubernetes-list-type is {}", list_type.text());
        errors.forbidden(&items.path.child("nullable"), &detail);
    }
}

fn check_list_keys(schema: &At<'_>, errors: &mut ErrorList) {
    let (list_type, keys) = (schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys"));
    if !keys.is_empty() && list_type.text() != "map" {
        let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
        if list_type.is_set() {
            list_type.invalid(errors, detail);
        } else {
            errors.required(&list_type.path, detail);
        }
    }
    if list_type.text() != "map" {
        return;
    }
    if keys.is_empty() {
        errors.required(&keys.path, "must not be empty if x-kubernetes-list-type is map");
    }
    let items = schema.get("items");
    if !items.is_set() {
        return errors.required(&items.path, "must have a schema if x-kubernetes-list-type is map");
    }
    if items.text_of("type") != "object" {
        let detail = "must be object if parent array's x-kubernetes-list-type is map";
        return items.get("type").invalid(errors, detail);
    }
    let mut seen = HashSet::new();
    for key in keys.items() {
        check_list_key(&items, &keys, key.text(), errors);
        if !seen.insert(key.text()) {
            keys.invalid(errors, "must not contain duplicate entries");
        }
    }
}

fn check_list_key(items: &At<'_>, keys: &At<'_>, key: &str, errors: &mut ErrorList) {
    let properties = items.get("properties");
    let Some(value) = properties.value.get(key) else {
        return keys.invalid(errors, "entries must all be names of item properties");
    };
    let property = At::new(value, properties.path.key(key));
    if matches!(property.text_of("type"), "array" | "object") {
        let path = property.path.child("type");
        errors.invalid(
            &path,
            "object",
            "must be a scalar type if parent array's x-kubernetes-list-type is map",
        );
    }
    let is_required = items.get("required").items().any(|name| name.text() == key);
    if !is_required && !property.has("default") {
        errors.required(
            &property.path.child("default"),
            "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
        );
    }
    if property.get("nullable").flag() {
        errors.forbidden(
            &property.path.child("nullable"),
            "this property is in x-kubernetes-list-map-keys, so it cannot be nullable",
        );
    }
}
