//! Values while an expression runs. What comes out of an object is borrowed from it.

use crate::shape::{Shape, ShapeKind};
use base64::Engine;
use mainstay_apiserver_machinery::structural::ListType;
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Quantity;
use smol_str::SmolStr;
use std::cmp::Ordering;
use std::net::IpAddr;
use std::sync::Arc;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

/// A value.
#[derive(Debug, Clone)]
pub enum Val<'a> {
    /// `null`.
    Null,
    /// A boolean.
    Bool(bool),
    /// A signed whole number.
    Int(i64),
    /// An unsigned whole number.
    Uint(u64),
    /// A floating point number.
    Double(f64),
    /// A string.
    Str(SmolStr),
    /// Bytes.
    Bytes(Arc<[u8]>),
    /// A length of time.
    Duration(Duration),
    /// A point in time.
    Timestamp(OffsetDateTime),
    /// A list, map or object of an object tree, with what its schema says.
    Tree(&'a Value, Option<&'a Shape>),
    /// A list that the expression made.
    List(Arc<[Val<'a>]>),
    /// A map that the expression made, in order of making.
    Map(Arc<[(Val<'a>, Val<'a>)]>),
    /// A value or none.
    Optional(Option<Arc<Val<'a>>>),
    /// A resource amount.
    Quantity(Quantity),
    /// A URL, as its text.
    Url(SmolStr),
    /// An address.
    Ip(IpAddr),
    /// A range of addresses.
    Cidr(IpAddr, u8),
    /// A version: major, minor, patch, and what follows.
    Semver(Arc<crate::functions::Semver>),
    /// A named format.
    Format(&'static str),
    /// An object that the expression made: the name of its type, and its members.
    Made(Arc<(SmolStr, Vec<(SmolStr, Val<'a>)>)>),
    /// A question to the authorizer, or its answer.
    Access(Arc<crate::functions::AccessVal<'a>>),
    /// A type.
    Type(&'static str),
}

/// Why a value of a tree is not what its schema says.
pub(crate) type Misfit = String;

impl<'a> Val<'a> {
    /// A value of a tree; `shape` is what the schema says of it.
    pub(crate) fn of_tree(value: &'a Value, shape: Option<&'a Shape>) -> Result<Self, Misfit> {
        let kind = shape.map_or(ShapeKind::Dyn, |shape| shape.kind);
        Ok(match (value, kind) {
            (Value::Null, _) => Self::Null,
            (Value::Bool(flag), _) => Self::Bool(*flag),
            (Value::Int(number), ShapeKind::Double) => Self::Double(*number as f64),
            (Value::Int(number), _) => Self::Int(*number),
            (Value::Float(number), ShapeKind::Int) if number.fract() == 0.0 => Self::Int(*number as i64),
            (Value::Float(number), _) => Self::Double(*number),
            (Value::Str(text), ShapeKind::Bytes) => {
                let bytes = base64::engine::general_purpose::STANDARD.decode(text);
                Self::Bytes(bytes.map_err(|_not_base64| "Invalid byte format".to_owned())?.into())
            }
            (Value::Str(text), ShapeKind::Duration) => {
                Self::Duration(parse_duration(text).ok_or_else(|| format!("Invalid duration {text}"))?)
            }
            (Value::Str(text), ShapeKind::Timestamp) => {
                Self::Timestamp(parse_timestamp(text).ok_or_else(|| format!("Invalid date-time {text}"))?)
            }
            (Value::Str(text), _) => Self::Str(text.clone()),
            (Value::List(_) | Value::Map(_), _) => Self::Tree(value, shape),
        })
    }

    /// The value as an optional's content; empty ones are none.
    pub(crate) fn optional(value: Option<Self>) -> Self {
        Self::Optional(value.map(Arc::new))
    }

    /// A list.
    pub(crate) fn list(items: Vec<Self>) -> Self {
        Self::List(items.into())
    }

    /// The name of the value's type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::Str(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::Duration(_) => "google.protobuf.Duration",
            Self::Timestamp(_) => "google.protobuf.Timestamp",
            Self::Tree(Value::List(_), _) | Self::List(_) => "list",
            Self::Tree(..) | Self::Map(_) => "map",
            Self::Optional(_) => "optional_type",
            Self::Quantity(_) => crate::signatures::QUANTITY,
            Self::Url(_) => crate::signatures::URL,
            Self::Ip(_) => crate::signatures::IP,
            Self::Cidr(..) => crate::signatures::CIDR,
            Self::Semver(_) => crate::signatures::SEMVER,
            Self::Format(_) => crate::signatures::FORMAT,
            Self::Made(_) => "Object",
            Self::Access(access) => access.type_name(),
            Self::Type(_) => "type",
        }
    }

    /// How many characters, items or members there are; 1 for what has no size.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Str(text) => text.len() as u64,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::List(items) => items.len() as u64,
            Self::Map(pairs) => pairs.len() as u64,
            Self::Tree(Value::List(items), _) => items.len() as u64,
            Self::Tree(Value::Map(map), _) => map.len() as u64,
            _ => 1,
        }
    }

    /// The items of a list.
    pub(crate) fn items(&self) -> Option<Result<Vec<Self>, Misfit>> {
        match self {
            Self::List(items) => Some(Ok(items.to_vec())),
            Self::Tree(Value::List(items), shape) => {
                let item = shape.and_then(|shape| shape.item.as_deref());
                Some(items.iter().map(|value| Self::of_tree(value, item)).collect())
            }
            _ => None,
        }
    }

    /// The keys and values of a map, or the members of an object by their names in expressions.
    pub(crate) fn pairs(&self) -> Option<Result<Vec<(Self, Self)>, Misfit>> {
        match self {
            Self::Map(pairs) => Some(Ok(pairs.to_vec())),
            Self::Tree(Value::Map(map), shape) => {
                let pair = |(name, value): &'a (SmolStr, Value)| {
                    let within = shape.and_then(|shape| shape.within(name));
                    Self::of_tree(value, within).map(|value| (Self::Str(name.clone()), value))
                };
                Some(map.iter().map(pair).collect())
            }
            _ => None,
        }
    }

    /// The member of a map or object; `None` when it is not there.
    pub(crate) fn member(&self, name: &str) -> Option<Result<Self, Misfit>> {
        match self {
            Self::Map(pairs) => {
                let found = pairs.iter().find(|(key, _)| matches!(key, Self::Str(key) if key == name));
                found.map(|(_, value)| Ok(value.clone()))
            }
            Self::Made(made) => {
                made.1.iter().find(|(known, _)| known == name).map(|(_, value)| Ok(value.clone()))
            }
            Self::Tree(Value::Map(map), Some(shape)) if shape.kind == ShapeKind::Object => {
                let field = shape.member(name)?;
                map.get(&field.name).map(|value| Self::of_tree(value, Some(&*field.shape)))
            }
            Self::Tree(Value::Map(map), shape) => {
                let item = shape.and_then(|shape| shape.item.as_deref());
                map.get(name).map(|value| Self::of_tree(value, item))
            }
            _ => None,
        }
    }

    /// Whether two values are equal: numbers of any type by value, sets and lists with keys whatever their order.
    pub(crate) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(one), Self::Bool(other)) => one == other,
            (Self::Str(one), Self::Str(other)) | (Self::Url(one), Self::Url(other)) => one == other,
            (Self::Bytes(one), Self::Bytes(other)) => one == other,
            (Self::Tree(_, Some(shape)), _) if unordered(shape) => self.same_set(other, shape),
            (_, Self::Tree(_, Some(shape))) if unordered(shape) => other.same_set(self, shape),
            (Self::Tree(one, None), Self::Tree(other, None)) => one == other,
            (Self::Optional(one), Self::Optional(other)) => match (one, other) {
                (Some(one), Some(other)) => one.equals(other),
                (one, other) => one.is_none() && other.is_none(),
            },
            (Self::Type(one), Self::Type(other)) | (Self::Format(one), Self::Format(other)) => one == other,
            (Self::Cidr(one, bits), Self::Cidr(other, others)) => one == other && bits == others,
            (Self::Ip(one), Self::Ip(other)) => one == other,
            (Self::Semver(one), Self::Semver(other)) => one.compare(other).is_eq(),
            (Self::Made(one), Self::Made(other)) => {
                let has = |name: &SmolStr, value: &Self| {
                    other.1.iter().any(|(known, other)| known == name && value.equals(other))
                };
                one.0 == other.0
                    && one.1.len() == other.1.len()
                    && one.1.iter().all(|(name, value)| has(name, value))
            }
            _ => self.equal_parts(other).unwrap_or_else(|| self.compare(other) == Some(Ordering::Equal)),
        }
    }

    /// Whether two sets, or lists whose items have keys, hold the same in any order.
    fn same_set(&self, other: &Self, shape: &Shape) -> bool {
        let (Some(Ok(one)), Some(Ok(other))) = (self.items(), other.items()) else { return false };
        let same_key = |one: &Self, other: &Self, key: &str| match (one.member(key), other.member(key)) {
            (Some(Ok(one)), Some(Ok(other))) => one.equals(&other),
            (one, other) => one.is_none() && other.is_none(),
        };
        let twin = |item: &Self| {
            other.iter().any(|other| {
                shape.list_keys.iter().all(|key| same_key(item, other, key)) && other.equals(item)
            })
        };
        one.len() == other.len() && one.iter().all(twin)
    }

    /// Equality of lists and maps; `None` for other values.
    fn equal_parts(&self, other: &Self) -> Option<bool> {
        if let (Some(one), Some(other)) = (self.items(), other.items()) {
            let (one, other) = (one.ok()?, other.ok()?);
            return Some(
                one.len() == other.len() && one.iter().zip(&other).all(|(one, other)| one.equals(other)),
            );
        }
        let (one, other) = (self.pairs()?.ok()?, other.pairs()?.ok()?);
        let has = |key: &Self, value: &Self| {
            other.iter().any(|(other_key, other)| other_key.equals(key) && other.equals(value))
        };
        Some(one.len() == other.len() && one.iter().all(|(key, value)| has(key, value)))
    }

    /// The order of two values; `None` when they have none.
    pub(crate) fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(one), Self::Bool(other)) => Some(one.cmp(other)),
            (Self::Int(one), Self::Int(other)) => Some(one.cmp(other)),
            (Self::Uint(one), Self::Uint(other)) => Some(one.cmp(other)),
            (Self::Int(one), Self::Uint(other)) => Some(i128::from(*one).cmp(&i128::from(*other))),
            (Self::Uint(one), Self::Int(other)) => Some(i128::from(*one).cmp(&i128::from(*other))),
            (Self::Double(one), Self::Double(other)) => one.partial_cmp(other),
            (Self::Double(one), Self::Int(other)) => one.partial_cmp(&(*other as f64)),
            (Self::Double(one), Self::Uint(other)) => one.partial_cmp(&(*other as f64)),
            (Self::Int(one), Self::Double(other)) => (*one as f64).partial_cmp(other),
            (Self::Uint(one), Self::Double(other)) => (*one as f64).partial_cmp(other),
            (Self::Str(one), Self::Str(other)) => Some(one.cmp(other)),
            (Self::Bytes(one), Self::Bytes(other)) => Some(one.cmp(other)),
            (Self::Duration(one), Self::Duration(other)) => Some(one.cmp(other)),
            (Self::Timestamp(one), Self::Timestamp(other)) => Some(one.cmp(other)),
            (Self::Quantity(one), Self::Quantity(other)) => Some(one.cmp(other)),
            _ => None,
        }
    }
}

impl Shape {
    /// What the member `name` of a map or object is.
    pub(crate) fn within(&self, name: &str) -> Option<&Self> {
        if self.kind == ShapeKind::Object {
            return self.fields.iter().find(|field| field.name == name).map(|field| &*field.shape);
        }
        self.item.as_deref()
    }
}

fn unordered(shape: &Shape) -> bool {
    shape.kind == ShapeKind::List && shape.list_type != ListType::Atomic
}

/// Go's and the language's durations: `1h30m`, `-1.5s`.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut nanos: i128 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let scale: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.len() > 18 || whole.len() > 18 {
            return None;
        }
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let part: i128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
        let divisor = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
        nanos = nanos.checked_add(whole.checked_mul(scale)?)?.checked_add(part * scale / divisor)?;
        rest = after;
    }
    let nanos = nanos.checked_mul(sign)?;
    let bounded = i64::try_from(nanos).ok()?;
    Some(Duration::nanoseconds(bounded))
}

/// RFC 3339, or a date alone.
pub(crate) fn parse_timestamp(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339)
        .or_else(|_date| OffsetDateTime::parse(&format!("{text}T00:00:00Z"), &Rfc3339))
        .ok()
}
