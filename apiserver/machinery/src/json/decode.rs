//! Decoding: one pass over the text builds the tree, checks it against the schema and makes scalars canonical.

use super::error::{Problems, Step};
use super::scan::Cursor;
use super::{DecodeError, TREE_DEPTH_MAX};
use crate::scalar::{Misfit, fit};
use crate::schema::{Base, Container, Field, Type};
use crate::value::{Key, Map, Value};
use smol_str::SmolStr;

/// What to do about unknown and duplicate fields: the `fieldValidation` parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strictness {
    /// Drop them silently.
    Ignore,
    /// Drop them and say so.
    #[default]
    Warn,
    /// Refuse the object.
    Strict,
}

impl Strictness {
    /// From the `fieldValidation` parameter.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "Ignore" => Some(Self::Ignore),
            "" | "Warn" => Some(Self::Warn),
            "Strict" => Some(Self::Strict),
            _ => None,
        }
    }
}

/// A decoded object.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// The canonical tree: only fields that the schema knows, no nulls, zeros as upstream's JSON has them, scalars in
    /// their canonical text. Equal objects are equal trees, from whichever codec they come.
    pub value: Value,
    /// Upstream's texts about what was dropped, for `Warning` headers.
    pub warnings: Vec<String>,
}

/// Decodes one JSON document. With a schema, unknown fields are dropped and told as `strictness` says, types are
/// checked and times, quantities and durations are made canonical; of duplicate keys the last wins. Without one, any
/// JSON is taken as it is.
pub fn decode(
    body: &[u8],
    ty: Option<&'static Type>,
    strictness: Strictness,
) -> Result<Decoded, DecodeError> {
    let cursor = Cursor::new(body)?;
    let mut parser = Parser { cursor, path: Vec::new(), strictness, problems: Problems::default(), depth: 0 };
    let value = match ty {
        Some(ty) => parser.root(ty)?,
        None => parser.free()?,
    };
    parser.cursor.end()?;
    let problems = parser.problems.into_vec();
    match strictness {
        Strictness::Strict if !problems.is_empty() => Err(DecodeError::Strict(problems)),
        _ => Ok(Decoded { value, warnings: problems }),
    }
}

/// Checks a tree against a schema as if it had come as text: what a patch has made of an object.
pub fn conform(value: &Value, ty: &'static Type, strictness: Strictness) -> Result<Decoded, DecodeError> {
    let mut text = Vec::new();
    super::encode(value, &mut text);
    decode(&text, Some(ty), strictness)
}

/// Decodes any JSON, without schema or warnings.
pub fn decode_free(body: &[u8]) -> Result<Value, DecodeError> {
    decode(body, None, Strictness::Ignore).map(|decoded| decoded.value)
}

/// What upstream holds for a null item of a list or map.
pub(crate) fn zero_element(field: &Field) -> Value {
    match field.base {
        Base::Bool => Value::Bool(false),
        Base::Int32 | Base::Int64 | Base::Float | Base::IntOrString => Value::Int(0),
        Base::Str | Base::Bytes => Value::from(""),
        Base::Quantity => Value::from("0"),
        Base::Duration => Value::from("0s"),
        Base::Struct => {
            let zeros = field.ty().map(Type::zeros).unwrap_or_default();
            Value::Map(zeros.iter().filter_map(|field| Some((field.name, field.zero.as_ref()?))).collect())
        }
        _ => Value::Null,
    }
}

struct Parser<'t> {
    cursor: Cursor<'t>,
    path: Vec<Step>,
    strictness: Strictness,
    problems: Problems,
    depth: usize,
}

type Parsed = Result<Value, DecodeError>;

impl Parser<'_> {
    fn root(&mut self, ty: &'static Type) -> Parsed {
        if self.cursor.peek() == Some(b'{') {
            return self.object(ty);
        }
        let value = self.free()?;
        Err(DecodeError::mistyped(value.json_kind(), ty, &[], ty.go_name()))
    }

    fn enter(&mut self) -> Result<(), DecodeError> {
        self.cursor.bump();
        self.depth += 1;
        if self.depth > TREE_DEPTH_MAX { Err(DecodeError::TooDeep) } else { Ok(()) }
    }

    /// The next member's key, or none at the end of the object.
    fn key(&mut self, first: bool) -> Result<Option<std::borrow::Cow<'_, str>>, DecodeError> {
        let more = if first {
            let empty = self.cursor.peek() == Some(b'}');
            if empty {
                self.cursor.bump();
            }
            !empty
        } else {
            self.cursor.more(b'}', "after object key:value pair")?
        };
        if !more {
            return Ok(None);
        }
        if self.cursor.peek() != Some(b'"') {
            return self.cursor.unexpected("looking for beginning of object key string");
        }
        let key = match self.cursor.plain_string() {
            Some(plain) => std::borrow::Cow::Borrowed(plain),
            None => std::borrow::Cow::Owned(self.cursor.string()?.into()),
        };
        self.cursor.expect(b':', "after object key")?;
        Ok(Some(key))
    }

    /// The next item is there, or the list ends.
    fn item(&mut self, first: bool) -> Result<bool, DecodeError> {
        if !first {
            return self.cursor.more(b']', "after array element");
        }
        let empty = self.cursor.peek() == Some(b']');
        if empty {
            self.cursor.bump();
        }
        Ok(!empty)
    }

    /// A struct whose opening brace is next.
    fn object(&mut self, ty: &'static Type) -> Parsed {
        self.enter()?;
        let mut pairs: Vec<(Key, Value)> = Vec::new();
        let mut first = true;
        loop {
            let (field, name) = match self.key(first)? {
                None => break,
                Some(key) => match ty.field(&key) {
                    Some(field) => (Some(field), field.name),
                    None if ty.has_type_meta && key == "apiVersion" => (None, "apiVersion"),
                    None if ty.has_type_meta && key == "kind" => (None, "kind"),
                    None => {
                        let unknown = SmolStr::from(key);
                        if ty.is_open {
                            pairs.push(self.open_member(unknown)?);
                        } else {
                            self.unknown(unknown)?;
                        }
                        first = false;
                        continue;
                    }
                },
            };
            first = false;
            self.path.push(Step::Field(name));
            let value = match field {
                Some(field) => self.field(ty, field)?,
                None => self.type_name(ty)?,
            };
            self.path.pop();
            let keeps = field.map_or_else(|| !value.is_null(), |field| field.keeps(&value));
            if keeps {
                pairs.push((SmolStr::new_static(name), value));
            }
        }
        self.depth -= 1;
        let mut map = self.finish(pairs);
        for field in ty.zeros() {
            if let Some(zero) = &field.zero {
                map.get_or_insert(field.name, || zero.clone());
            }
        }
        Ok(Value::Map(map))
    }

    /// A member of an open type that is none of its fields: any JSON, nulls included.
    fn open_member(&mut self, key: SmolStr) -> Result<(Key, Value), DecodeError> {
        self.path.push(Step::Key(key.clone()));
        let value = self.free()?;
        self.path.pop();
        Ok((key, value))
    }

    fn unknown(&mut self, key: SmolStr) -> Result<(), DecodeError> {
        if self.strictness != Strictness::Ignore {
            self.path.push(Step::Key(key));
            self.problems.unknown(&self.path);
            self.path.pop();
        }
        self.cursor.skip_value(self.depth)
    }

    /// Sorts members; of equal keys the last wins, and they are told.
    fn finish(&mut self, mut pairs: Vec<(Key, Value)>) -> Map {
        if !pairs.is_sorted_by(|a, b| a.0 < b.0) {
            pairs.sort_by(|a, b| a.0.cmp(&b.0));
            if self.strictness != Strictness::Ignore {
                for (one, next) in pairs.iter().zip(pairs.iter().skip(1)) {
                    if one.0 == next.0 {
                        self.path.push(Step::Key(one.0.clone()));
                        self.problems.duplicate(&self.path);
                        self.path.pop();
                    }
                }
            }
        }
        Map::from_pairs(pairs)
    }

    /// `apiVersion` or `kind` of an object.
    fn type_name(&mut self, ty: &'static Type) -> Parsed {
        match self.scalar()? {
            (value @ (Value::Str(_) | Value::Null), _) => Ok(value),
            (value, _) => Err(DecodeError::mistyped(value.json_kind(), ty, &self.path, "string".to_owned())),
        }
    }

    fn field(&mut self, owner: &'static Type, field: &'static Field) -> Parsed {
        match (field.container, self.cursor.peek()) {
            (Container::One, _) => self.element(owner, field),
            (Container::List, Some(b'[')) => self.list(owner, field),
            (Container::Map, Some(b'{')) => self.map(owner, field),
            (_, Some(b'n')) => self.cursor.literal("null").map(|()| Value::Null),
            _ => {
                let got = self.kind_here()?;
                Err(DecodeError::misplaced(got, owner, &self.path, field))
            }
        }
    }

    /// What stands here, for errors.
    fn kind_here(&mut self) -> Result<&'static str, DecodeError> {
        Ok(match self.cursor.peek() {
            Some(b'{') => "object",
            Some(b'[') => "array",
            _ => self.scalar()?.0.json_kind(),
        })
    }

    fn list(&mut self, owner: &'static Type, field: &'static Field) -> Parsed {
        self.enter()?;
        let mut items = Vec::new();
        while self.item(items.is_empty())? {
            self.path.push(Step::Index(items.len()));
            let item = self.element(owner, field)?;
            self.path.pop();
            items.push(if item.is_null() { zero_element(field) } else { item });
        }
        self.depth -= 1;
        Ok(Value::List(items))
    }

    fn map(&mut self, owner: &'static Type, field: &'static Field) -> Parsed {
        self.enter()?;
        let mut pairs = Vec::new();
        let mut first = true;
        while let Some(key) = self.key(first)? {
            let key = SmolStr::from(key);
            first = false;
            self.path.push(Step::Key(key.clone()));
            let value = match self.cursor.peek() {
                Some(b'[') if field.is_wrapped() => self.list(owner, field)?,
                _ if field.is_wrapped() => match self.kind_here()? {
                    "null" => Value::List(Vec::new()),
                    got => return Err(DecodeError::misplaced(got, owner, &self.path, field)),
                },
                _ => self.element(owner, field)?,
            };
            self.path.pop();
            pairs.push((key, if value.is_null() { zero_element(field) } else { value }));
        }
        self.depth -= 1;
        Ok(Value::Map(self.finish(pairs)))
    }

    fn element(&mut self, owner: &'static Type, field: &'static Field) -> Parsed {
        let next = self.cursor.peek();
        match (field.base, next) {
            (Base::Raw | Base::Any, _) => self.free(),
            (Base::Struct, Some(b'{')) => match field.ty() {
                Some(ty) => self.object(ty),
                None => self.free(),
            },
            (Base::SchemaOrBool | Base::SchemaOrArray | Base::SchemaOrStrings, Some(b'{' | b'[')) => {
                self.schema_or(owner, field)
            }
            (Base::SchemaOrBool, _) => match self.scalar()?.0 {
                value @ (Value::Bool(_) | Value::Null) => Ok(value),
                _ => Err(DecodeError::Value("boolean or JSON schema expected".to_owned())),
            },
            (base, Some(b'{' | b'[')) => {
                let got = self.kind_here()?;
                match base {
                    // These bases have their own readers upstream, with their own words.
                    Base::Quantity => {
                        Err(DecodeError::Value(mainstay_proto_api::QuantityError::Format.to_string()))
                    }
                    _ => Err(DecodeError::mistyped(got, owner, &self.path, field.go_element_type())),
                }
            }
            (base, _) => {
                let (value, literal) = self.scalar()?;
                fit(value, base, literal.as_deref()).map_err(|misfit| match misfit {
                    Misfit::Text(text) => DecodeError::Value(text),
                    Misfit::Type { got } => {
                        DecodeError::mistyped(&got, owner, &self.path, field.go_element_type())
                    }
                })
            }
        }
    }

    /// A JSON schema, or the list that may stand in its place.
    fn schema_or(&mut self, owner: &'static Type, field: &'static Field) -> Parsed {
        let inner = field.ty().and_then(|ty| ty.field("Schema"));
        let Some(inner) = inner else { return self.free() };
        if self.cursor.peek() == Some(b'{') {
            return self.element(owner, inner);
        }
        match field.base {
            Base::SchemaOrArray => self.list(owner, inner),
            Base::SchemaOrStrings => match field.ty().and_then(|ty| ty.field("Property")) {
                Some(strings) => self.list(owner, strings),
                None => self.free(),
            },
            _ => Err(DecodeError::Value("boolean or JSON schema expected".to_owned())),
        }
    }

    /// A value that is neither list nor object; a number comes with its text when that is not its plain form.
    fn scalar(&mut self) -> Result<(Value, Option<String>), DecodeError> {
        Ok(match self.cursor.peek() {
            Some(b'"') => (Value::Str(self.cursor.string()?), None),
            Some(b'-' | b'0'..=b'9') => {
                let number = self.cursor.number()?;
                match number.whole {
                    Some(whole) => (Value::Int(whole), None),
                    None => (float(number.literal)?, Some(number.literal.to_owned())),
                }
            }
            Some(b't') => {
                self.cursor.literal("true")?;
                (Value::Bool(true), None)
            }
            Some(b'f') => {
                self.cursor.literal("false")?;
                (Value::Bool(false), None)
            }
            Some(b'n') => {
                self.cursor.literal("null")?;
                (Value::Null, None)
            }
            _ => return self.cursor.unexpected("looking for beginning of value"),
        })
    }

    /// Any JSON.
    fn free(&mut self) -> Parsed {
        match self.cursor.peek() {
            Some(b'{') => {
                self.enter()?;
                let mut pairs = Vec::new();
                let mut first = true;
                while let Some(key) = self.key(first)? {
                    let key = SmolStr::from(key);
                    first = false;
                    self.path.push(Step::Key(key.clone()));
                    let value = self.free()?;
                    self.path.pop();
                    pairs.push((key, value));
                }
                self.depth -= 1;
                Ok(Value::Map(self.finish(pairs)))
            }
            Some(b'[') => {
                self.enter()?;
                let mut items = Vec::new();
                while self.item(items.is_empty())? {
                    self.path.push(Step::Index(items.len()));
                    items.push(self.free()?);
                    self.path.pop();
                }
                self.depth -= 1;
                Ok(Value::List(items))
            }
            _ => Ok(self.scalar()?.0),
        }
    }
}

fn float(literal: &str) -> Parsed {
    match literal.parse::<f64>() {
        Ok(v) if v.is_finite() => Ok(Value::Float(v)),
        _ => Err(DecodeError::Type {
            got: format!("number {literal}"),
            place: "Go value".to_owned(),
            go_type: "float64".to_owned(),
        }),
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
