//! The direct way from stored bytes to JSON: one pass, no tree. The bytes are our own encoder's, so fields come
//! once and in order; where they do not, the way over the tree is taken.

use super::special::{self, IntOrString};
use super::wire::{Reader, Wire, put_bytes};
use crate::json::{DecodeError, TREE_DEPTH_MAX, is_plain, write_float, write_int, write_plain, write_string};
use crate::scalar::{Instant, append_micro_time, append_time, format_duration};
use crate::schema::{self, Base, Container, Field, Type};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What the stored bytes do not hold.
#[derive(Debug, Clone, Copy, Default)]
pub struct Identity<'a> {
    /// The object's `apiVersion`; left out when empty.
    pub api_version: &'a str,
    /// The object's `kind`; left out when empty.
    pub kind: &'a str,
    /// `metadata.resourceVersion`: the store's modification revision. Empty leaves the bytes' own.
    pub resource_version: &'a str,
}

/// Why the direct way ended.
enum Detour {
    /// The bytes are malformed.
    Refused(DecodeError),
    /// The fields are not in the order that this way needs.
    Unordered,
}

impl From<DecodeError> for Detour {
    fn from(error: DecodeError) -> Self {
        Self::Refused(error)
    }
}

/// Appends an object's message as JSON. On an error `out` is as it was.
pub fn transcode_json(
    raw: &[u8],
    ty: &'static Type,
    identity: Identity<'_>,
    out: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    let before = out.len();
    out.reserve(raw.len() * 2 + 128);
    let mut writer = Writer { out, identity };
    match writer.object(raw, ty) {
        Ok(()) => Ok(()),
        Err(detour) => {
            out.truncate(before);
            match detour {
                Detour::Refused(error) => Err(error),
                Detour::Unordered => over_the_tree(raw, ty, identity, out),
            }
        }
    }
}

fn over_the_tree(
    raw: &[u8],
    ty: &'static Type,
    identity: Identity<'_>,
    out: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    let mut value = super::decode(raw, ty)?;
    for (key, text) in [("apiVersion", identity.api_version), ("kind", identity.kind)] {
        if !text.is_empty() {
            value.make_map().insert(key, text);
        }
    }
    if !identity.resource_version.is_empty() && ty.field("metadata").is_some() {
        value.set_path(&["metadata", "resourceVersion"], identity.resource_version);
    }
    crate::json::encode(&value, out);
    Ok(())
}

/// Appends an object as `PartialObjectMetadata` in JSON: its metadata only.
pub fn transcode_metadata_json(
    raw: &[u8],
    resource_version: &str,
    out: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    let mut reader = Reader::new(raw);
    let mut metadata = [].as_slice();
    while let Some((number, wire)) = reader.field()? {
        if number == 1 {
            metadata = wire.bytes()?;
            break;
        }
    }
    let Some(ty) = schema::lookup("meta/v1.PartialObjectMetadata") else {
        return Err(DecodeError::Value("meta/v1.PartialObjectMetadata is not in the schema".to_owned()));
    };
    let mut partial = Vec::with_capacity(metadata.len() + 8);
    put_bytes(1, metadata, &mut partial);
    let identity =
        Identity { api_version: "meta.k8s.io/v1", kind: "PartialObjectMetadata", resource_version };
    transcode_json(&partial, ty, identity, out)
}

/// Appends an object's message with `metadata.resourceVersion` set: what protobuf readers are sent.
pub fn with_resource_version(
    raw: &[u8],
    resource_version: &str,
    out: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    const METADATA: u32 = 1;
    const RESOURCE_VERSION: u32 = 6;
    let mut metadata = Vec::new();
    let mut reader = Reader::new(raw);
    let mut from = 0;
    while let Some((number, wire)) = reader.field()? {
        let to = raw.len() - reader.len();
        if number == METADATA {
            copy_without(RESOURCE_VERSION, wire.bytes()?, &mut metadata)?;
        } else {
            out.extend_from_slice(raw.get(from..to).unwrap_or_default());
        }
        from = to;
    }
    put_bytes(RESOURCE_VERSION, resource_version.as_bytes(), &mut metadata);
    put_bytes(METADATA, &metadata, out);
    Ok(())
}

fn copy_without(left_out: u32, message: &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let mut reader = Reader::new(message);
    let mut from = 0;
    while let Some((number, _)) = reader.field()? {
        let to = message.len() - reader.len();
        if number != left_out {
            out.extend_from_slice(message.get(from..to).unwrap_or_default());
        }
        from = to;
    }
    Ok(())
}

struct Writer<'o, 'i> {
    out: &'o mut Vec<u8>,
    identity: Identity<'i>,
}

/// Where in an object a struct stands, as far as overrides care.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    Metadata,
    Deeper,
}

impl Writer<'_, '_> {
    fn object(&mut self, raw: &[u8], ty: &'static Type) -> Result<(), Detour> {
        self.out.push(b'{');
        for (key, text) in [("kind", self.identity.kind), ("apiVersion", self.identity.api_version)] {
            if !text.is_empty() {
                self.key(key);
                write_string(text, self.out);
            }
        }
        self.members(raw, ty, Place::Root, 0)?;
        self.out.push(b'}');
        Ok(())
    }

    /// A comma unless this is the first, the field's name and the colon.
    fn field_key(&mut self, field: &Field) {
        let text = field.key_text.as_bytes();
        let is_first = matches!(self.out.last(), Some(b'{' | b'['));
        self.out.extend_from_slice(if is_first { text.get(1..).unwrap_or_default() } else { text });
    }

    /// As [`Writer::field_key`], for a name that is no field's.
    fn key(&mut self, name: &str) {
        if !matches!(self.out.last(), Some(b'{' | b'[')) {
            self.out.push(b',');
        }
        // Names of the schema need no escaping.
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn braced(&mut self, bytes: &[u8], ty: &'static Type, place: Place, depth: usize) -> Result<(), Detour> {
        if depth > TREE_DEPTH_MAX {
            return Err(DecodeError::TooDeep.into());
        }
        self.out.push(b'{');
        self.members(bytes, ty, place, depth)?;
        self.out.push(b'}');
        Ok(())
    }

    fn members(&mut self, bytes: &[u8], ty: &'static Type, place: Place, depth: usize) -> Result<(), Detour> {
        let mut seen = 0_u64;
        // The list or map that is open, and how it closes.
        let mut open: Option<(usize, u8)> = None;
        let mut reader = Reader::new(bytes);
        while let Some((number, wire)) = reader.field()? {
            let Some((at, field)) = ty.numbered(number) else { continue };
            if let Some((open_at, close)) = open
                && open_at != at
            {
                self.out.push(close);
                open = None;
            }
            let again = seen & (1 << at) != 0;
            if again && open.is_none() {
                return Err(Detour::Unordered);
            }
            seen |= 1 << at;
            open = self.part((at, field), wire, (place, depth), open)?;
        }
        if let Some((_, close)) = open {
            self.out.push(close);
        }
        self.absent(ty, ty.always & !seen);
        if place == Place::Metadata && !self.identity.resource_version.is_empty() {
            self.key("resourceVersion");
            write_string(self.identity.resource_version, self.out);
        }
        Ok(())
    }

    /// What upstream writes for fields that are absent.
    fn absent(&mut self, ty: &'static Type, mut missing: u64) {
        while missing != 0 {
            let at = missing.trailing_zeros() as usize;
            missing &= missing - 1;
            let Some(field) = ty.fields().get(at) else { continue };
            if !field.is_inline() {
                self.field_key(field);
                self.out.extend_from_slice(field.zero_text.as_bytes());
            } else if !field.zero_text.is_empty() {
                if !matches!(self.out.last(), Some(b'{')) {
                    self.out.push(b',');
                }
                self.out.extend_from_slice(field.zero_text.as_bytes());
            }
        }
    }

    /// One field, or one part of a list or map; returns what is open afterwards.
    fn part(
        &mut self,
        (at, field): (usize, &'static Field),
        wire: Wire<'_>,
        (place, depth): (Place, usize),
        open: Option<(usize, u8)>,
    ) -> Result<Option<(usize, u8)>, Detour> {
        if field.is_inline() {
            if let Some(ty) = field.ty() {
                self.members(wire.bytes()?, ty, Place::Deeper, depth + 1)?;
            }
            return Ok(None);
        }
        match field.container {
            Container::One => {
                self.one(field, wire, place, depth)?;
                Ok(None)
            }
            Container::List if field.is_wrapped() => {
                self.field_key(field);
                self.wrapped_items(field, wire, depth)?;
                Ok(None)
            }
            Container::List => {
                self.open_or_comma(field, b'[', open.is_some());
                self.items(field, wire, depth)?;
                Ok(Some((at, b']')))
            }
            Container::Map => {
                self.open_or_comma(field, b'{', open.is_some());
                let (key, value) = special::entry(wire.bytes()?)?;
                write_string(key, self.out);
                self.out.push(b':');
                match value {
                    Some(wire) if field.is_wrapped() => self.wrapped_items(field, wire, depth)?,
                    None if field.is_wrapped() => self.out.extend_from_slice(b"[]"),
                    Some(wire) => self.element(field, wire, Place::Deeper, depth)?,
                    None => crate::json::encode(&crate::json::zero_element(field), self.out),
                }
                Ok(Some((at, b'}')))
            }
        }
    }

    fn open_or_comma(&mut self, field: &Field, bracket: u8, is_open: bool) {
        if is_open {
            self.out.push(b',');
        } else {
            self.field_key(field);
            self.out.push(bracket);
        }
    }

    /// A field that is neither list nor map: nothing at all when upstream would leave it out.
    fn one(
        &mut self,
        field: &'static Field,
        wire: Wire<'_>,
        place: Place,
        depth: usize,
    ) -> Result<(), Detour> {
        let inner = match place {
            Place::Root if field.name == "metadata" => Place::Metadata,
            Place::Metadata
                if field.name == "resourceVersion" && !self.identity.resource_version.is_empty() =>
            {
                return Ok(());
            }
            _ => Place::Deeper,
        };
        if !field.is_always_written() && !field.is_pointer() {
            let empty = match (field.base, wire) {
                (Base::Str | Base::Bytes, Wire::Bytes(bytes)) => bytes.is_empty(),
                (Base::Bool | Base::Int32 | Base::Int64, Wire::Varint(v)) => v == 0,
                (Base::Float, Wire::Fixed64(bits)) => f64::from_bits(bits) == 0.0,
                _ => false,
            };
            if empty {
                return Ok(());
            }
        }
        let before = self.out.len();
        self.field_key(field);
        let start = self.out.len();
        self.element(field, wire, inner, depth)?;
        // Go's zero time is null; where nulls are left out, so is the field.
        if !field.is_always_written() && self.out.get(start..) == Some(b"null") {
            self.out.truncate(before);
        }
        Ok(())
    }

    fn items(&mut self, field: &'static Field, wire: Wire<'_>, depth: usize) -> Result<(), Detour> {
        match (field.base, wire) {
            // Packed numbers are legal, but never ours.
            (Base::Bool | Base::Int32 | Base::Int64, Wire::Bytes(_)) => Err(Detour::Unordered),
            _ => self.element(field, wire, Place::Deeper, depth),
        }
    }

    fn wrapped_items(&mut self, field: &'static Field, wire: Wire<'_>, depth: usize) -> Result<(), Detour> {
        self.out.push(b'[');
        let mut first = true;
        let mut reader = Reader::new(wire.bytes()?);
        while let Some((number, wire)) = reader.field()? {
            if number == 1 {
                if !first {
                    self.out.push(b',');
                }
                first = false;
                self.element(field, wire, Place::Deeper, depth)?;
            }
        }
        self.out.push(b']');
        Ok(())
    }

    fn element(
        &mut self,
        field: &'static Field,
        wire: Wire<'_>,
        place: Place,
        depth: usize,
    ) -> Result<(), Detour> {
        match field.base {
            Base::Struct => match field.ty() {
                Some(ty) => self.braced(wire.bytes()?, ty, place, depth + 1),
                None => Err(Detour::Unordered),
            },
            Base::SchemaOrBool | Base::SchemaOrArray | Base::SchemaOrStrings => {
                self.schema_or(field, wire.bytes()?, depth + 1)
            }
            base => self.leaf(base, wire),
        }
    }

    /// An element that holds no others.
    fn leaf(&mut self, base: Base, wire: Wire<'_>) -> Result<(), Detour> {
        match base {
            Base::Bool => {
                let text: &[u8] = if wire.varint()? != 0 { b"true" } else { b"false" };
                self.out.extend_from_slice(text);
            }
            Base::Int32 => write_int(i64::from(wire.varint()? as i32), self.out),
            Base::Int64 => write_int(wire.varint()?.cast_signed(), self.out),
            Base::Float => {
                let value = wire.double()?;
                if !value.is_finite() {
                    return Err(DecodeError::Value("a number is not finite".to_owned()).into());
                }
                write_float(value, self.out);
            }
            Base::Str => self.text(wire)?,
            Base::Bytes => write_base64(wire.bytes()?, self.out),
            Base::Time => self.time(wire, append_time)?,
            Base::MicroTime => self.time(wire, append_micro_time)?,
            Base::Duration => write_string(&format_duration(special::inner_int(wire.bytes()?)?), self.out),
            Base::Quantity => match special::inner_text(wire.bytes()?)? {
                "" => self.out.extend_from_slice(b"\"0\""),
                text => write_string(text, self.out),
            },
            Base::IntOrString => match special::int_or_string(wire.bytes()?)? {
                IntOrString::Int(v) => write_int(v, self.out),
                IntOrString::Str(v) => write_string(v, self.out),
            },
            Base::Raw => self.raw(special::inner_bytes(wire.bytes()?)?)?,
            _ => self.out.extend_from_slice(b"null"),
        }
        Ok(())
    }

    fn text(&mut self, wire: Wire<'_>) -> Result<(), Detour> {
        let bytes = wire.bytes()?;
        if is_plain(bytes) {
            write_plain(bytes, self.out);
        } else {
            write_string(wire.text()?, self.out);
        }
        Ok(())
    }

    fn time(&mut self, wire: Wire<'_>, append: fn(Instant, &mut Vec<u8>)) -> Result<(), Detour> {
        match special::instant(wire.bytes()?)? {
            Instant::ZERO => self.out.extend_from_slice(b"null"),
            instant => {
                self.out.push(b'"');
                append(instant, self.out);
                self.out.push(b'"');
            }
        }
        Ok(())
    }

    /// JSON held as bytes: our encoder wrote it, so it is copied.
    fn raw(&mut self, bytes: &[u8]) -> Result<(), Detour> {
        match bytes {
            [] => self.out.extend_from_slice(b"null"),
            [b'k', ..] => return Err(Detour::Unordered),
            json => match std::str::from_utf8(json) {
                Ok(json) => self.out.extend_from_slice(json.as_bytes()),
                Err(e) => return Err(DecodeError::NotUtf8 { at: e.valid_up_to() }.into()),
            },
        }
        Ok(())
    }

    fn schema_or(&mut self, field: &'static Field, bytes: &[u8], depth: usize) -> Result<(), Detour> {
        let Some(ty) = field.ty() else { return Err(Detour::Unordered) };
        let mut reader = Reader::new(bytes);
        let mut allows = false;
        let mut items = 0_usize;
        let before = self.out.len();
        while let Some((number, wire)) = reader.field()? {
            let Some((_, part)) = ty.numbered(number) else { continue };
            match (part.base, part.container) {
                (Base::Struct, Container::One) => {
                    self.out.truncate(before);
                    return self.element(part, wire, Place::Deeper, depth);
                }
                (Base::Bool, _) => allows = wire.varint()? != 0,
                _ => {
                    self.out.push(if items == 0 { b'[' } else { b',' });
                    items += 1;
                    self.element(part, wire, Place::Deeper, depth)?;
                }
            }
        }
        let end: &[u8] = match (field.base, items) {
            (Base::SchemaOrBool, _) if allows => b"true",
            (Base::SchemaOrBool, _) => b"false",
            (_, 0) => b"[]",
            _ => b"]",
        };
        self.out.extend_from_slice(end);
        Ok(())
    }
}

fn write_base64(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    if let Some(slot) = out.get_mut(start..)
        && let Err(e) = STANDARD.encode_slice(bytes, slot)
    {
        unreachable!("the room is just what base64 needs: {e}");
    }
    out.push(b'"');
}
