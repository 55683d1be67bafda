//! What a schema says of values, as the checker and the cost estimate need it: types, members, and how large values can
//! become. The rules for sizes are upstream's.

use crate::signatures::AUTHORIZER;
use crate::types::Type;
use mainstay_apiserver_machinery::structural::{Additional, ListType, SchemaType, Structural};
use mainstay_apiserver_machinery::value::Value;
use smol_str::SmolStr;
use std::sync::Arc;

/// Bytes of the largest request.
const REQUEST_BYTES_MAX: u64 = 3 * 1024 * 1024;
/// Bytes of quotes or brackets.
const PAIR_BYTES: u64 = 2;

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShapeKind {
    Dyn,
    Bool,
    Int,
    Double,
    Str,
    Bytes,
    Duration,
    Timestamp,
    List,
    Map,
    Object,
    Authorizer,
}

/// A member of an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// The name in the object.
    pub name: SmolStr,
    /// The name in expressions: the same, with what no identifier may hold written out.
    pub escaped: SmolStr,
    /// Whether it is always there.
    pub is_required: bool,
    /// What it is.
    pub shape: Arc<Shape>,
}

/// What a schema says of a value.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// The name of an object's type.
    pub name: SmolStr,
    pub(crate) kind: ShapeKind,
    /// Members of an object, by name.
    pub(crate) fields: Vec<Field>,
    /// What the items of a list or the values of a map are.
    pub(crate) item: Option<Arc<Shape>>,
    /// How a list's items are known.
    pub(crate) list_type: ListType,
    pub(crate) list_keys: Vec<SmolStr>,
    /// How many items, members or characters there can be at most.
    pub(crate) elements_max: u64,
    /// Bytes that the smallest such value takes as JSON.
    pub(crate) bytes_min: u64,
}

impl Shape {
    fn of_kind(kind: ShapeKind, elements_max: u64, bytes_min: u64) -> Self {
        Self {
            name: SmolStr::default(),
            kind,
            fields: Vec::new(),
            item: None,
            list_type: ListType::Atomic,
            list_keys: Vec::new(),
            elements_max,
            bytes_min,
        }
    }

    /// Anything.
    pub fn any() -> Self {
        Self::of_kind(ShapeKind::Dyn, REQUEST_BYTES_MAX - PAIR_BYTES, 1)
    }

    /// The authorizer.
    pub fn authorizer() -> Self {
        Self::of_kind(ShapeKind::Authorizer, 1, 1)
    }

    /// A boolean.
    pub fn flag() -> Self {
        Self::of_kind(ShapeKind::Bool, 5, 4)
    }

    /// A signed whole number.
    pub fn number() -> Self {
        Self::of_kind(ShapeKind::Int, 20, 1)
    }

    /// A floating point number.
    pub fn double() -> Self {
        Self::of_kind(ShapeKind::Double, 20, 1)
    }

    /// Bytes, base64 in the object.
    pub fn bytes() -> Self {
        Self::of_kind(ShapeKind::Bytes, REQUEST_BYTES_MAX - PAIR_BYTES, PAIR_BYTES)
    }

    /// A point in time.
    pub fn timestamp() -> Self {
        Self::of_kind(ShapeKind::Timestamp, 32, PAIR_BYTES)
    }

    /// A string of at most so many characters.
    pub fn text(length_max: Option<u64>) -> Self {
        let max = length_max.unwrap_or(REQUEST_BYTES_MAX - PAIR_BYTES);
        Self::of_kind(ShapeKind::Str, max, PAIR_BYTES)
    }

    /// An object with these members.
    pub fn object(name: &str, mut fields: Vec<Field>) -> Self {
        fields.sort_by(|a, b| a.escaped.cmp(&b.escaped));
        let required = fields.iter().filter(|field| field.is_required);
        let bytes_min =
            required.map(|field| field.name.len() as u64 + 4 + field.shape.bytes_min).sum::<u64>();
        Self {
            name: name.into(),
            fields,
            ..Self::of_kind(ShapeKind::Object, REQUEST_BYTES_MAX - PAIR_BYTES, PAIR_BYTES + bytes_min)
        }
    }

    /// A list of these.
    pub fn list(item: Self, items_max: Option<u64>) -> Self {
        let estimate = (REQUEST_BYTES_MAX - PAIR_BYTES) / (item.bytes_min + 1);
        Self {
            item: Some(Arc::new(item)),
            ..Self::of_kind(ShapeKind::List, items_max.unwrap_or(estimate), PAIR_BYTES)
        }
    }

    /// A map from strings to these.
    pub fn map(value: Self, members_max: Option<u64>) -> Self {
        let estimate = (REQUEST_BYTES_MAX - PAIR_BYTES) / (value.bytes_min + 6);
        Self {
            item: Some(Arc::new(value)),
            ..Self::of_kind(ShapeKind::Map, members_max.unwrap_or(estimate), PAIR_BYTES)
        }
    }

    /// A member of an object under construction.
    pub fn field(name: &str, shape: Self, is_required: bool) -> Field {
        Field { name: name.into(), escaped: escape(name), is_required, shape: Arc::new(shape) }
    }

    /// What `schema` says; `is_resource` for a whole object, whose type and name are always there.
    pub fn of_schema(schema: &Structural, is_resource: bool) -> Self {
        if schema.is_int_or_string {
            return Self::any();
        }
        match schema.schema_type {
            SchemaType::Any => Self::any(),
            SchemaType::Boolean => Self::of_kind(ShapeKind::Bool, 5, 4),
            SchemaType::Integer => Self::of_kind(ShapeKind::Int, 20, 1),
            SchemaType::Number => Self::of_kind(ShapeKind::Double, 20, 1),
            SchemaType::String => Self::of_string(schema),
            SchemaType::Array => Self {
                list_type: schema.list_type(),
                list_keys: schema.list_map_keys.clone(),
                ..Self::list(
                    schema.items.as_deref().map_or_else(Self::any, |items| Self::of_schema(items, false)),
                    count(schema.checks.max_items),
                )
            },
            SchemaType::Object => Self::of_object(schema, is_resource || schema.is_embedded),
        }
    }

    /// What `schema` says of a whole object whose `metadata` is known: outside of validation rules, expressions see all of it.
    pub fn of_resource(schema: &Structural, metadata: &Arc<Self>) -> Self {
        let mut shape = Self::of_schema(schema, true);
        if let Some(field) = shape.fields.iter_mut().find(|field| field.name == "metadata") {
            field.shape = Arc::clone(metadata);
        }
        shape
    }

    fn of_string(schema: &Structural) -> Self {
        let checks = &schema.checks;
        // A character may take four bytes.
        let stated = count(checks.max_length).map(|max| max.saturating_mul(4).min(REQUEST_BYTES_MAX));
        let (kind, max) = match checks.format.as_str() {
            "byte" => (ShapeKind::Bytes, count(checks.max_length).unwrap_or(REQUEST_BYTES_MAX - PAIR_BYTES)),
            "duration" => (ShapeKind::Duration, 32),
            "date" => (ShapeKind::Timestamp, 12),
            "date-time" => (ShapeKind::Timestamp, 32),
            _ if !checks.allowed.is_empty() => {
                let longest = checks.allowed.iter().filter_map(Value::as_str).map(str::len).max();
                (ShapeKind::Str, longest.unwrap_or_default() as u64)
            }
            _ => (ShapeKind::Str, stated.unwrap_or(REQUEST_BYTES_MAX - PAIR_BYTES)),
        };
        Self::of_kind(kind, max, PAIR_BYTES + count(checks.min_length).unwrap_or_default())
    }

    fn of_object(schema: &Structural, is_resource: bool) -> Self {
        if let Additional::Schema(all) = &schema.additional {
            return Self::map(Self::of_schema(all, false), count(schema.checks.max_properties));
        }
        let mut fields: Vec<Field> = schema
            .properties
            .iter()
            .filter(|(name, _)| !(is_resource && matches!(name.as_str(), "apiVersion" | "kind" | "metadata")))
            .map(|(name, property)| {
                let is_required = schema.checks.required.contains(name) || property.default.is_some();
                Self::field(name, Self::of_schema(property, false), is_required)
            })
            .collect();
        if is_resource {
            let name = || Self::text(Some(253));
            let metadata =
                vec![Self::field("name", name(), true), Self::field("generateName", name(), false)];
            fields.push(Self::field("apiVersion", Self::text(Some(317)), true));
            fields.push(Self::field("kind", Self::text(Some(63)), true));
            fields.push(Self::field("metadata", Self::object("object", metadata), true));
        }
        Self::object("object", fields)
    }

    /// The type of values of this shape.
    pub(crate) fn ty(self: &Arc<Self>) -> Type {
        let item = || self.item.as_ref().map_or(Type::Dyn, Self::ty);
        match self.kind {
            ShapeKind::Dyn => Type::Dyn,
            ShapeKind::Bool => Type::Bool,
            ShapeKind::Int => Type::Int,
            ShapeKind::Double => Type::Double,
            ShapeKind::Str => Type::Str,
            ShapeKind::Bytes => Type::Bytes,
            ShapeKind::Duration => Type::Duration,
            ShapeKind::Timestamp => Type::Timestamp,
            ShapeKind::List => Type::list(item()),
            ShapeKind::Map => Type::map(Type::Str, item()),
            ShapeKind::Object => Type::Object(Arc::clone(self)),
            ShapeKind::Authorizer => Type::Named(AUTHORIZER),
        }
    }

    /// The member that an expression calls `name`.
    pub(crate) fn member(&self, name: &str) -> Option<&Field> {
        let at = self.fields.binary_search_by(|field| field.escaped.as_str().cmp(name)).ok();
        at.and_then(|at| self.fields.get(at)).or_else(|| self.fields.iter().find(|field| field.name == name))
    }

    /// How often a value of this shape can occur in one request, when nothing around it is bounded.
    pub fn occurrences_max(&self) -> u64 {
        REQUEST_BYTES_MAX / (self.bytes_min + 1)
    }
}

fn count(stated: Option<i64>) -> Option<u64> {
    stated.and_then(|count| u64::try_from(count).ok())
}

/// A field's name as expressions write it.
fn escape(name: &str) -> SmolStr {
    const KEYWORDS: [&str; 21] = [
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ];
    if KEYWORDS.contains(&name) {
        return format!("__{name}__").into();
    }
    if !name.contains(['.', '-', '/']) && !name.contains("__") {
        return name.into();
    }
    let escaped = name
        .replace("__", "__underscores__")
        .replace('.', "__dot__")
        .replace('-', "__dash__")
        .replace('/', "__slash__");
    escaped.into()
}
