//! From the `JSONSchemaProps` of a definition to a structural schema. What is not structural is an error here or is found
//! by the definition's validation; nothing is guessed.

use super::model::{Additional, Checks, ListType, MapType, RuleText, SchemaType, Structural};
use crate::value::Value;
use smol_str::SmolStr;

/// Why a schema is none that objects can be held against.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// A part that structural schemas do not have.
    #[error("OpenAPIV3Schema '{0}' is not supported")]
    Unsupported(&'static str),
    /// A value that is not one of those that the part may have.
    #[error("{part}: unknown value {value:?}")]
    Unknown {
        /// The schema's word.
        part: &'static str,
        /// What stands there.
        value: String,
    },
}

/// Reads a schema; `tree` is a `JSONSchemaProps` as decoding leaves it.
///
/// # Errors
/// [`SchemaError`].
pub fn parse(tree: &Value) -> Result<Structural, SchemaError> {
    for part in
        ["id", "$schema", "$ref", "additionalItems", "patternProperties", "definitions", "dependencies"]
    {
        if tree.get(part).is_some_and(|value| !value.is_empty()) {
            return Err(SchemaError::Unsupported(part));
        }
    }
    let mut out = Structural {
        schema_type: word(tree, "type", SchemaType::of)?.unwrap_or_default(),
        title: text(tree, "title"),
        description: text(tree, "description"),
        nullable: flag(tree, "nullable"),
        default: tree.get("default").cloned(),
        properties: properties(tree)?,
        additional: additional(tree)?,
        items: items(tree)?,
        preserves_unknown: flag(tree, "x-kubernetes-preserve-unknown-fields"),
        is_embedded: flag(tree, "x-kubernetes-embedded-resource"),
        is_int_or_string: flag(tree, "x-kubernetes-int-or-string"),
        list_type: word(tree, "x-kubernetes-list-type", list_type)?,
        list_map_keys: texts(tree, "x-kubernetes-list-map-keys"),
        map_type: word(tree, "x-kubernetes-map-type", map_type)?,
        rules: tree.path_list(&["x-kubernetes-validations"]).iter().map(rule).collect(),
        checks: checks(tree)?,
        has_defaults: false,
        has_rules: false,
    };
    let below = |of: fn(&Structural) -> bool| {
        out.properties.iter().any(|(_, schema)| of(schema))
            || out.items.as_deref().is_some_and(of)
            || matches!(&out.additional, Additional::Schema(schema) if of(schema))
    };
    let defaults_below = below(|schema| schema.has_defaults);
    let rules_below = below(|schema| schema.has_rules);
    out.has_defaults = out.default.is_some() || defaults_below;
    out.has_rules = !out.rules.is_empty() || rules_below;
    Ok(out)
}

fn list_type(word: &str) -> Option<ListType> {
    match word {
        "atomic" => Some(ListType::Atomic),
        "set" => Some(ListType::Set),
        "map" => Some(ListType::Map),
        _ => None,
    }
}

fn map_type(word: &str) -> Option<MapType> {
    match word {
        "granular" => Some(MapType::Granular),
        "atomic" => Some(MapType::Atomic),
        _ => None,
    }
}

fn word<T>(tree: &Value, part: &'static str, read: fn(&str) -> Option<T>) -> Result<Option<T>, SchemaError> {
    let Some(word) = tree.path_str(&[part]).filter(|word| !word.is_empty()) else { return Ok(None) };
    match read(word) {
        Some(known) => Ok(Some(known)),
        None => Err(SchemaError::Unknown { part, value: word.to_owned() }),
    }
}

fn text(tree: &Value, name: &str) -> SmolStr {
    tree.get(name).and_then(Value::as_smol).cloned().unwrap_or_default()
}

fn texts(tree: &Value, name: &str) -> Vec<SmolStr> {
    tree.path_list(&[name]).iter().filter_map(|one| one.as_smol().cloned()).collect()
}

fn flag(tree: &Value, name: &str) -> bool {
    tree.path_bool(&[name]).unwrap_or_default()
}

fn number(tree: &Value, name: &str) -> Option<f64> {
    tree.get(name).and_then(Value::as_f64)
}

fn properties(tree: &Value) -> Result<Vec<(SmolStr, Structural)>, SchemaError> {
    // A map's members are in order already.
    let members = tree.path_map(&["properties"]).into_iter().flatten();
    members.map(|(name, schema)| Ok((name.clone(), parse(schema)?))).collect()
}

fn additional(tree: &Value) -> Result<Additional, SchemaError> {
    Ok(match tree.get("additionalProperties") {
        None | Some(Value::Null) => Additional::None,
        Some(Value::Bool(allowed)) => Additional::Bool(*allowed),
        Some(schema) => Additional::Schema(Box::new(parse(schema)?)),
    })
}

fn items(tree: &Value) -> Result<Option<Box<Structural>>, SchemaError> {
    match tree.get("items") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::List(_)) => Err(SchemaError::Unsupported("items as an array")),
        Some(schema) => Ok(Some(Box::new(parse(schema)?))),
    }
}

fn rule(tree: &Value) -> RuleText {
    RuleText {
        rule: text(tree, "rule"),
        message: text(tree, "message"),
        message_expression: text(tree, "messageExpression"),
        reason: text(tree, "reason"),
        field_path: text(tree, "fieldPath"),
        optional_old_self: tree.path_bool(&["optionalOldSelf"]),
    }
}

fn checks(tree: &Value) -> Result<Checks, SchemaError> {
    let list = |name| tree.path_list(&[name]).iter().map(parse).collect::<Result<Vec<_>, _>>();
    let int = |name| tree.path_i64(&[name]);
    Ok(Checks {
        format: text(tree, "format"),
        maximum: number(tree, "maximum"),
        exclusive_maximum: flag(tree, "exclusiveMaximum"),
        minimum: number(tree, "minimum"),
        exclusive_minimum: flag(tree, "exclusiveMinimum"),
        multiple_of: number(tree, "multipleOf"),
        max_length: int("maxLength"),
        min_length: int("minLength"),
        pattern: text(tree, "pattern"),
        max_items: int("maxItems"),
        min_items: int("minItems"),
        max_properties: int("maxProperties"),
        min_properties: int("minProperties"),
        unique_items: flag(tree, "uniqueItems"),
        required: texts(tree, "required"),
        allowed: tree.path_list(&["enum"]).to_vec(),
        all_of: list("allOf")?,
        any_of: list("anyOf")?,
        one_of: list("oneOf")?,
        not: match tree.get("not").filter(|schema| !schema.is_null()) {
            Some(schema) => Some(Box::new(parse(schema)?)),
            None => None,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    #[test]
    fn every_part_has_its_place() {
        let schema = parse(&value!({"type": "object", "required": ["spec"], "properties": {
            "spec": {"type": "object", "properties": {
                "replicas": {"type": "integer", "default": 1, "minimum": 0},
                "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port"],
                    "items": {"type": "object", "properties": {"port": {"x-kubernetes-int-or-string": true}}}},
                "labels": {"type": "object", "additionalProperties": {"type": "string", "nullable": true}},
            }, "x-kubernetes-validations": [{"rule": "self.replicas < 10"}]},
        }}))
        .unwrap();
        let spec = schema.property("spec").unwrap();
        assert!(schema.has_defaults && schema.has_rules && spec.rules.len() == 1);
        assert_eq!(spec.property("replicas").unwrap().checks.minimum, Some(0.0));
        let ports = spec.property("ports").unwrap();
        assert_eq!((ports.list_type(), ports.list_map_keys.len()), (ListType::Map, 1));
        assert!(ports.items.as_ref().unwrap().property("port").unwrap().is_int_or_string);
        assert!(spec.property("labels").unwrap().member("any").unwrap().nullable);
        assert!(!spec.has_rules || spec.property("ports").is_some_and(|ports| !ports.has_rules));
    }

    #[test]
    fn what_is_not_structural_is_refused() {
        assert_eq!(parse(&value!({"$ref": "#/x"})), Err(SchemaError::Unsupported("$ref")));
        assert!(parse(&value!({"type": "array", "items": [{"type": "string"}]})).is_err());
        assert!(parse(&value!({"properties": {"a": {"type": "strin"}}})).is_err());
    }
}
