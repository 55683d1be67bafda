//! From protobuf to the canonical tree: what upstream's JSON leaves out is absent, what it always writes is there
//! (but for nulls, which stand in no tree).

use super::envelope;
use super::special::{self, IntOrString};
use super::wire::{Reader, Wire};
use crate::json::{self, DecodeError, TREE_DEPTH_MAX};
use crate::scalar::{Instant, format_duration, format_micro_time, format_time};
use crate::schema::{self, Base, Container, Field, Type};
use crate::value::{Key, Map, Value};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use smol_str::{SmolStr, format_smolstr};

/// Decodes the message of one object; `apiVersion` and `kind` are not part of it. Unknown fields are dropped.
pub fn decode(bytes: &[u8], ty: &'static Type) -> Result<Value, DecodeError> {
    message(bytes, ty, 0).map(Value::Map)
}

/// Decodes a whole object out of its envelope, with `apiVersion` and `kind`.
pub fn decode_object(bytes: &[u8]) -> Result<Value, DecodeError> {
    enveloped(bytes, 0)
}

fn enveloped(bytes: &[u8], depth: usize) -> Result<Value, DecodeError> {
    let envelope = envelope::unwrap(bytes)?;
    let group_version = match envelope.api_version {
        plain if !plain.contains('/') => format_smolstr!("core/{plain}"),
        full => SmolStr::new(full),
    };
    let Some(ty) = schema::lookup(&format_smolstr!("{group_version}.{}", envelope.kind)) else {
        return Err(DecodeError::Value(format!(
            "no kind \"{}\" is registered for version \"{}\"",
            envelope.kind, envelope.api_version
        )));
    };
    let mut map = message(envelope.raw, ty, depth)?;
    map.insert("apiVersion", envelope.api_version);
    map.insert("kind", envelope.kind);
    Ok(Value::Map(map))
}

/// The members met so far.
struct Members {
    pairs: Vec<(Key, Value)>,
    /// Bit by index of the fields met.
    seen: u64,
}

impl Members {
    /// The slot of a field that may come in parts; made by `empty` at its first part.
    fn slot(&mut self, at: usize, field: &Field, empty: impl FnOnce() -> Value) -> Option<&mut Value> {
        if self.seen & (1 << at) == 0 {
            self.pairs.push((SmolStr::new_static(field.name), empty()));
            return self.pairs.last_mut().map(|(_, v)| v);
        }
        // Parts of one field almost always follow each other.
        self.pairs.iter_mut().rev().find(|(key, _)| key == field.name).map(|(_, v)| v)
    }
}

fn message(bytes: &[u8], ty: &'static Type, depth: usize) -> Result<Map, DecodeError> {
    if depth > TREE_DEPTH_MAX {
        return Err(DecodeError::TooDeep);
    }
    let mut members = Members { pairs: Vec::new(), seen: 0 };
    read_into(bytes, ty, depth, &mut members)?;
    // Entries of maps may come in any order; of equal keys the last wins.
    for (_, value) in &mut members.pairs {
        if let Value::Map(map) = value {
            map.restore_order();
        }
    }
    Ok(Map::from_pairs(members.pairs))
}

fn read_into(
    bytes: &[u8],
    ty: &'static Type,
    depth: usize,
    members: &mut Members,
) -> Result<(), DecodeError> {
    let outer_seen = std::mem::take(&mut members.seen);
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.field()? {
        let Some((at, field)) = ty.numbered(number) else { continue };
        read_field(at, field, wire, depth, members)?;
        members.seen |= 1 << at;
    }
    let mut missing = ty.always & !members.seen;
    while missing != 0 {
        let at = missing.trailing_zeros() as usize;
        missing &= missing - 1;
        let Some(field) = ty.fields().get(at) else { continue };
        match &field.zero {
            Some(Value::Map(zeros)) if field.is_inline() => members.pairs.extend(zeros.iter().cloned()),
            Some(zero) => members.pairs.push((SmolStr::new_static(field.name), zero.clone())),
            None => {}
        }
    }
    members.seen = outer_seen;
    Ok(())
}

fn read_field(
    at: usize,
    field: &'static Field,
    wire: Wire<'_>,
    depth: usize,
    members: &mut Members,
) -> Result<(), DecodeError> {
    if field.is_inline() {
        return match field.ty() {
            Some(ty) => read_into(wire.bytes()?, ty, depth + 1, members),
            None => Ok(()),
        };
    }
    match field.container {
        Container::One => read_one(at, field, wire, depth, members),
        Container::List if field.is_wrapped() => {
            let items = wrapped_items(field, wire, depth)?;
            if let Some(slot) = members.slot(at, field, || Value::Null) {
                *slot = Value::List(items);
            }
            Ok(())
        }
        Container::List => match members.slot(at, field, || Value::List(Vec::new())) {
            Some(Value::List(items)) => push_items(items, field, wire, depth),
            _ => Ok(()),
        },
        Container::Map => {
            let (key, value) = read_entry(field, wire, depth)?;
            if let Some(Value::Map(map)) = members.slot(at, field, Value::map) {
                map.push_unordered(SmolStr::new(key), value);
            }
            Ok(())
        }
    }
}

fn read_one(
    at: usize,
    field: &'static Field,
    wire: Wire<'_>,
    depth: usize,
    members: &mut Members,
) -> Result<(), DecodeError> {
    let value = element(field, wire, depth)?;
    if field.keeps(&value)
        && let Some(slot) = members.slot(at, field, || Value::Null)
    {
        *slot = value;
    }
    Ok(())
}

fn read_entry<'w>(
    field: &'static Field,
    wire: Wire<'w>,
    depth: usize,
) -> Result<(&'w str, Value), DecodeError> {
    let (key, value) = special::entry(wire.bytes()?)?;
    let value = match value {
        Some(wire) if field.is_wrapped() => Value::List(wrapped_items(field, wire, depth)?),
        None if field.is_wrapped() => Value::List(Vec::new()),
        Some(wire) => element(field, wire, depth)?,
        None => json::zero_element(field),
    };
    Ok((key, value))
}

/// One item, or many when whole numbers or flags are packed.
fn push_items(
    items: &mut Vec<Value>,
    field: &'static Field,
    wire: Wire<'_>,
    depth: usize,
) -> Result<(), DecodeError> {
    match (field.base, wire) {
        (Base::Bool | Base::Int32 | Base::Int64, Wire::Bytes(packed)) => {
            let mut reader = Reader::new(packed);
            while !reader.is_empty() {
                items.push(element(field, Wire::Varint(reader.varint()?), depth)?);
            }
        }
        _ => items.push(element(field, wire, depth)?),
    }
    Ok(())
}

/// The items of a list that is a message of its own.
fn wrapped_items(field: &'static Field, wire: Wire<'_>, depth: usize) -> Result<Vec<Value>, DecodeError> {
    let mut items = Vec::new();
    let mut reader = Reader::new(wire.bytes()?);
    while let Some((number, wire)) = reader.field()? {
        if number == 1 {
            items.push(element(field, wire, depth)?);
        }
    }
    Ok(items)
}

/// One element. What holds others is told apart first, so that a level of depth takes little stack.
fn element(field: &'static Field, wire: Wire<'_>, depth: usize) -> Result<Value, DecodeError> {
    match field.base {
        Base::Struct => match field.ty() {
            Some(ty) => message(wire.bytes()?, ty, depth + 1).map(Value::Map),
            None => Ok(Value::Null),
        },
        Base::SchemaOrBool | Base::SchemaOrArray | Base::SchemaOrStrings => {
            schema_or(field, wire.bytes()?, depth + 1)
        }
        Base::Raw => raw(special::inner_bytes(wire.bytes()?)?, depth),
        base => leaf(base, wire),
    }
}

/// An element that holds no others.
fn leaf(base: Base, wire: Wire<'_>) -> Result<Value, DecodeError> {
    Ok(match base {
        Base::Bool => Value::Bool(wire.varint()? != 0),
        Base::Int32 => Value::Int(i64::from(wire.varint()? as i32)),
        Base::Int64 => Value::Int(wire.varint()?.cast_signed()),
        Base::Float => float(wire.double()?)?,
        Base::Str => Value::Str(SmolStr::new(wire.text()?)),
        Base::Bytes => Value::from(STANDARD.encode(wire.bytes()?)),
        Base::Time => time(special::instant(wire.bytes()?)?, format_time),
        Base::MicroTime => time(special::instant(wire.bytes()?)?, format_micro_time),
        Base::Duration => Value::Str(format_duration(special::inner_int(wire.bytes()?)?)),
        Base::Quantity => quantity(special::inner_text(wire.bytes()?)?)?,
        Base::IntOrString => match special::int_or_string(wire.bytes()?)? {
            IntOrString::Int(v) => Value::Int(v),
            IntOrString::Str(v) => Value::from(v),
        },
        _ => Value::Null,
    })
}

fn float(value: f64) -> Result<Value, DecodeError> {
    if !value.is_finite() {
        return Err(DecodeError::Value("a number is not finite".to_owned()));
    }
    // Whole numbers read the same from both codecs.
    let is_whole = value.trunc().to_bits() == value.to_bits() && value.abs() < (1_u64 << 53) as f64;
    Ok(if is_whole { Value::Int(value as i64) } else { Value::Float(value) })
}

fn time(instant: Instant, format: fn(Instant) -> SmolStr) -> Value {
    if instant == Instant::ZERO { Value::Null } else { Value::Str(format(instant)) }
}

fn quantity(text: &str) -> Result<Value, DecodeError> {
    if text.is_empty() {
        return Ok(Value::from("0"));
    }
    match mainstay_proto_api::Quantity::canonical_text(text) {
        Ok(text) => Ok(Value::Str(text)),
        Err(e) => Err(DecodeError::Value(e.to_string())),
    }
}

/// Any JSON held as bytes; an enveloped object inside is decoded by its own schema.
fn raw(bytes: &[u8], depth: usize) -> Result<Value, DecodeError> {
    if bytes.is_empty() {
        Ok(Value::Null)
    } else if envelope::is_enveloped(bytes) {
        enveloped(bytes, depth + 1)
    } else {
        json::decode_free(bytes)
    }
}

fn schema_or(field: &'static Field, bytes: &[u8], depth: usize) -> Result<Value, DecodeError> {
    let mut value =
        if field.base == Base::SchemaOrBool { Value::Bool(false) } else { Value::List(Vec::new()) };
    let Some(ty) = field.ty() else { return Ok(Value::Null) };
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.field()? {
        let Some((_, part)) = ty.numbered(number) else { continue };
        let is_schema = part.base == Base::Struct && part.container == Container::One;
        match &mut value {
            // A schema outranks the flag or list beside it.
            Value::Map(_) if !is_schema => {}
            Value::List(items) if part.container == Container::List => {
                items.push(element(part, wire, depth)?);
            }
            slot => *slot = element(part, wire, depth)?,
        }
    }
    Ok(value)
}
