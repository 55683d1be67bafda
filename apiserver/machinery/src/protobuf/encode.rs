//! From the tree to protobuf. Zero values that are no pointers are left out: readers take them as absent anyway.

use super::envelope;
use super::wire::{BYTES, FIXED64, close, open, put_bytes, put_int, put_tag, put_varint};
use crate::scalar::{parse_duration, parse_micro_time, parse_time};
use crate::schema::{Base, Container, Field, Type};
use crate::value::{Map, Value};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt;

/// A tree that does not have the shape its schema wants.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("encoding {} as protobuf: {fault}", PathText(.path))]
pub struct EncodeError {
    /// Steps from the innermost outwards.
    path: Vec<String>,
    fault: String,
}

struct PathText<'a>(&'a [String]);

impl fmt::Display for PathText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps: Vec<&str> = self.0.iter().rev().map(String::as_str).collect();
        f.write_str(&steps.join("."))
    }
}

fn fault<T>(text: impl Into<String>) -> Result<T, EncodeError> {
    Err(EncodeError { path: Vec::new(), fault: text.into() })
}

fn mistyped<T>(value: &Value, field: &Field) -> Result<T, EncodeError> {
    fault(format!("{} stands where {} belongs", value.json_kind(), field.go_element_type()))
}

impl EncodeError {
    fn within(mut self, step: impl Into<String>) -> Self {
        self.path.push(step.into());
        self
    }
}

/// Appends the message of `value`; `apiVersion` and `kind` are not part of it.
pub fn encode(value: &Value, ty: &'static Type, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let result = match value {
        Value::Map(map) => encode_struct(map, ty, out),
        other => fault(format!("{} stands where an object belongs", other.json_kind())),
    };
    result.map_err(|e| e.within(ty.name))
}

/// Appends the whole object: the envelope with its own `apiVersion` and `kind`, and the message.
pub fn encode_object(value: &Value, ty: &'static Type, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let name = |key| value.get(key).and_then(Value::as_str).unwrap_or_default();
    envelope::begin(name("apiVersion"), name("kind"), out);
    let start = open(2, out);
    encode(value, ty, out)?;
    close(start, out);
    envelope::end(out);
    Ok(())
}

fn encode_struct(map: &Map, ty: &'static Type, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    for field in ty.fields() {
        if field.is_inline() {
            let Some(inner) = field.ty() else { continue };
            let (before, start) = (out.len(), open(field.number, out));
            encode_struct(map, inner, out)?;
            finish_inline(before, start, out);
            continue;
        }
        let Some(value) = map.get(field.name).filter(|v| !v.is_null()) else { continue };
        if field.number == 0 {
            return fault("it has no protobuf form").map_err(|e: EncodeError| e.within(field.name));
        }
        encode_field(value, field, out).map_err(|e| e.within(field.name))?;
    }
    Ok(())
}

/// Ends an inline struct's message, or takes it back when it is empty.
fn finish_inline(before: usize, start: usize, out: &mut Vec<u8>) {
    if out.len() == start {
        out.truncate(before);
    } else {
        close(start, out);
    }
}

fn encode_field(value: &Value, field: &'static Field, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    match (field.container, value) {
        (Container::One, _) => {
            // An empty int-or-string differs from its zero (a number), and empty bytes from theirs (null).
            let told_apart = matches!(field.base, Base::IntOrString | Base::Bytes);
            let skip = !field.is_pointer() && is_zero_scalar(value) && !told_apart;
            if skip { Ok(()) } else { encode_element(value, field, field.number, out) }
        }
        (Container::List, Value::List(items)) if field.is_wrapped() => {
            let start = open(field.number, out);
            encode_items(items, field, 1, out)?;
            close(start, out);
            Ok(())
        }
        (Container::List, Value::List(items)) => encode_items(items, field, field.number, out),
        (Container::Map, Value::Map(map)) => {
            for (key, value) in map {
                encode_entry(key, value, field, out).map_err(|e| e.within(format!("[{key}]")))?;
            }
            Ok(())
        }
        (Container::List, other) => fault(format!("{} stands where a list belongs", other.json_kind())),
        (Container::Map, other) => fault(format!("{} stands where a map belongs", other.json_kind())),
    }
}

fn is_zero_scalar(value: &Value) -> bool {
    !matches!(value, Value::List(_) | Value::Map(_)) && value.is_empty()
}

fn encode_items(
    items: &[Value],
    field: &'static Field,
    number: u32,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    for (at, item) in items.iter().enumerate() {
        encode_element(item, field, number, out).map_err(|e| e.within(format!("[{at}]")))?;
    }
    Ok(())
}

fn encode_entry(
    key: &str,
    value: &Value,
    field: &'static Field,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let start = open(field.number, out);
    put_bytes(1, key.as_bytes(), out);
    match value {
        Value::List(items) if field.is_wrapped() => {
            let inner = open(2, out);
            encode_items(items, field, 1, out)?;
            close(inner, out);
        }
        _ => encode_element(value, field, 2, out)?,
    }
    close(start, out);
    Ok(())
}

fn encode_element(
    value: &Value,
    field: &'static Field,
    number: u32,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    match (field.base, value) {
        (Base::Bool, Value::Bool(v)) => put_int(number, i64::from(*v), out),
        (Base::Int32 | Base::Int64, Value::Int(v)) => put_int(number, *v, out),
        (Base::Float, Value::Int(_) | Value::Float(_)) => {
            put_tag(number, FIXED64, out);
            out.extend_from_slice(&value.as_f64().unwrap_or_default().to_le_bytes());
        }
        (Base::Str, Value::Str(v)) => put_bytes(number, v.as_bytes(), out),
        (Base::Bytes, Value::Str(v)) => put_base64(v, number, out)?,
        (Base::Struct, Value::Map(map)) => {
            let Some(ty) = field.ty() else { return fault("its type is not known") };
            let start = open(number, out);
            encode_struct(map, ty, out)?;
            close(start, out);
        }
        (Base::Any, _) => return fault("it has no protobuf form"),
        (
            Base::Bool | Base::Int32 | Base::Int64 | Base::Float | Base::Str | Base::Bytes | Base::Struct,
            _,
        ) => {
            return mistyped(value, field);
        }
        _ => {
            let start = open(number, out);
            encode_special(value, field, out)?;
            close(start, out);
        }
    }
    Ok(())
}

fn put_base64(text: &str, number: u32, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    put_tag(number, BYTES, out);
    let before = out.len();
    match STANDARD.decode(text) {
        Ok(bytes) => {
            put_varint(bytes.len() as u64, out);
            out.extend_from_slice(&bytes);
            Ok(())
        }
        Err(e) => {
            out.truncate(before);
            fault(format!("it is no base64: {e}"))
        }
    }
}

/// The body of a message that is one value in JSON.
fn encode_special(value: &Value, field: &'static Field, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    match (field.base, value) {
        // A null item of a list: Go's zero, an empty message.
        (Base::Time | Base::MicroTime | Base::Duration | Base::Raw, Value::Null) => {}
        (Base::Time, Value::Str(text)) => put_int(1, parse_time(text).or_else(fault)?.seconds, out),
        (Base::MicroTime, Value::Str(text)) => {
            let time = parse_micro_time(text).or_else(fault)?;
            put_int(1, time.seconds, out);
            if time.nanos != 0 {
                put_int(2, i64::from(time.nanos), out);
            }
        }
        (Base::Duration, Value::Str(text)) => put_int(1, parse_duration(text).or_else(fault)?, out),
        (Base::Quantity, Value::Str(text)) => put_bytes(1, text.as_bytes(), out),
        (Base::IntOrString, Value::Int(v)) => {
            if *v != 0 {
                put_int(2, *v, out);
            }
        }
        (Base::IntOrString, Value::Str(text)) => {
            put_int(1, 1, out);
            put_bytes(3, text.as_bytes(), out);
        }
        (Base::Raw, _) => {
            let start = open(1, out);
            crate::json::encode(value, out);
            close(start, out);
        }
        (Base::SchemaOrBool | Base::SchemaOrArray | Base::SchemaOrStrings, _) => {
            return encode_schema_or(value, field, out);
        }
        _ => return mistyped(value, field),
    }
    Ok(())
}

fn encode_schema_or(value: &Value, field: &'static Field, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let Some(ty) = field.ty() else { return fault("its type is not known") };
    match (field.base, value) {
        (Base::SchemaOrBool, Value::Bool(allows)) => put_int(1, i64::from(*allows), out),
        (_, Value::Map(_)) => {
            let Some(schema) = ty.field("Schema") else { return fault("its type is not known") };
            if field.base == Base::SchemaOrBool {
                put_int(1, 1, out);
            }
            encode_element(value, schema, schema.number, out)?;
        }
        (Base::SchemaOrArray | Base::SchemaOrStrings, Value::List(items)) => {
            let name = if field.base == Base::SchemaOrArray { "JSONSchemas" } else { "Property" };
            let Some(list) = ty.field(name) else { return fault("its type is not known") };
            encode_items(items, list, list.number, out)?;
        }
        _ => return mistyped(value, field),
    }
    Ok(())
}
