//! Holds what a client applies against the schema, in upstream's words: unknown members, wrong types, and items of a
//! list that cannot be told apart are faults.

use super::element::Element;
use super::items;
use super::shape::{Items, Scalar, Shape};
use super::typed_error::TypedError;
use crate::value::Value;
use std::collections::BTreeSet;

/// Checks an applied object.
pub(super) fn check(shape: Shape<'_>, value: &Value) -> Result<(), TypedError> {
    match (shape, value) {
        (Shape::Opaque | Shape::Untyped, _) | (_, Value::Null) => Ok(()),
        (Shape::Scalar(scalar), _) => check_scalar(scalar, value),
        (list, _) if list.items().is_some() => match value {
            Value::List(items) => check_list(shape, items),
            _ => Err(TypedError::one(format!("expected list, got {}", shown(value)))),
        },
        (_, Value::Map(map)) => {
            let mut errors = TypedError::default();
            for (name, member) in map {
                let element = Element::Field(name.clone());
                let Some((child, _)) = shape.member(name) else {
                    errors.join(TypedError::one("field not declared in schema").at(&element));
                    break;
                };
                if let Err(error) = check(child, member) {
                    errors.join(error.at(&element));
                }
            }
            errors.into_result()
        }
        (_, _) => Err(TypedError::one(format!("expected map, got {}", shown(value)))),
    }
}

fn check_list(shape: Shape<'_>, list: &[Value]) -> Result<(), TypedError> {
    let is_atomic = shape.items() == Some(Items::Atomic);
    let mut errors = TypedError::default();
    let mut seen = BTreeSet::new();
    for (at, item) in list.iter().enumerate() {
        let element = if is_atomic {
            Element::Index(i64::try_from(at).unwrap_or(i64::MAX))
        } else {
            match items::element(shape, item) {
                Ok(element) => element,
                Err(error) => {
                    errors.join(TypedError::one(format!("element {at}: {error}")));
                    break;
                }
            }
        };
        if let Err(error) = check(shape.item(), item) {
            errors.join(error.at(&element));
        }
        if !is_atomic && !seen.insert(element.clone()) {
            errors.join(TypedError::one(format!("duplicate entries for key {element}")));
        }
    }
    errors.into_result()
}

fn check_scalar(scalar: Scalar, value: &Value) -> Result<(), TypedError> {
    let text = match (scalar, value) {
        (Scalar::Text | Scalar::Any, Value::Str(_))
        | (Scalar::Number | Scalar::Any, Value::Int(_) | Value::Float(_))
        | (Scalar::Flag | Scalar::Any, Value::Bool(_)) => return Ok(()),
        (Scalar::Number, other) => format!("expected numeric (int or float), got {}", go_type(other)),
        (Scalar::Text, other) => {
            format!(
                "expected string, got &value.valueUnstructured{{Value:{}}}",
                crate::json::to_string(other)
            )
        }
        (Scalar::Flag, other) => format!("expected boolean, got {}", shown(other)),
        (Scalar::Any, other) => format!("expected any scalar, got {}", shown(other)),
    };
    Err(TypedError::one(text))
}

const fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int64",
        Value::Float(_) => "float64",
        Value::Str(_) => "string",
        Value::List(_) => "[]interface {}",
        Value::Map(_) => "map[string]interface {}",
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Str(text) => format!("&{{{text}}}"),
        other => format!("&{{{}}}", crate::json::to_string(other)),
    }
}
