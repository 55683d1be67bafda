//! [`Shape`]: what the schema says about a value as far as ownership goes: who declares its members, and whether it is
//! owned in parts or as a whole. All typing of this module goes through here, for tables and for structural schemas.

use super::element::Element;
use crate::schema::{self, Base, Container, Field, Type};
use crate::structural::{Additional, ListType, MapType, SchemaType, Structural};
use crate::value::Value;
use smol_str::SmolStr;

/// What a value is to the owners of its fields.
#[derive(Debug, Clone, Copy)]
pub enum Shape<'s> {
    /// A string, number, flag, or one of several of these.
    Scalar(Scalar),
    /// An object with declared members.
    Struct {
        /// Who declares them.
        ty: &'static Type,
        /// Whether it is owned as a whole.
        atomic: bool,
        /// What else declares members: the schema of a custom resource.
        more: Option<&'s Structural>,
    },
    /// An object of any names; the field says what a member is.
    Map {
        /// The field that holds it.
        field: &'static Field,
        /// Whether it is owned as a whole.
        atomic: bool,
    },
    /// A list; the field says what an item is.
    List {
        /// The field that holds it.
        field: &'static Field,
        /// How its items are told apart.
        items: Items<'static>,
    },
    /// An object or list within a custom resource.
    Custom(&'s Structural),
    /// Any JSON: objects are owned by member, lists and scalars as a whole.
    Untyped,
    /// Anything, owned as a whole and not looked into.
    Opaque,
}

/// Which scalars a field takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scalar {
    /// Strings.
    Text,
    /// Numbers.
    Number,
    /// `true` and `false`.
    Flag,
    /// Any of these.
    Any,
}

/// How the items of a list are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Items<'s> {
    /// Not at all: the list is owned as a whole.
    Atomic,
    /// By their value.
    Set,
    /// By the values of these members.
    Keyed(&'static [&'static str]),
    /// By the values of these members, as a definition names them.
    KeyedBy(&'s [SmolStr]),
}

impl<'s> Shape<'s> {
    /// The shape of an object of that type.
    pub fn of(ty: &'static Type) -> Self {
        Self::structure(ty, ty.is_atomic)
    }

    /// The shape of a custom resource: `ty` is what every one has, `schema` its own.
    pub const fn of_custom(ty: &'static Type, schema: &'s Structural) -> Self {
        Self::Struct { ty, atomic: false, more: Some(schema) }
    }

    fn structure(ty: &'static Type, atomic: bool) -> Self {
        // A struct that declares nothing says nothing about what it holds.
        if ty.json_fields().next().is_none() && !ty.has_type_meta {
            return Self::Untyped;
        }
        Self::Struct { ty, atomic, more: None }
    }

    /// The shape of a field's value.
    fn of_field(field: &'static Field) -> Self {
        match field.container {
            Container::One => Self::of_element(field),
            Container::List => Self::List { field, items: items(field) },
            Container::Map => Self::Map { field, atomic: field.map_type == "atomic" },
        }
    }

    /// The shape of an item or member of a field's value.
    fn of_element(field: &'static Field) -> Self {
        if field.container == Container::Map && field.is_wrapped() {
            return Self::Opaque;
        }
        match field.base {
            Base::Bool => Self::Scalar(Scalar::Flag),
            Base::Int32 | Base::Int64 | Base::Float => Self::Scalar(Scalar::Number),
            Base::Str | Base::Bytes | Base::Duration => Self::Scalar(Scalar::Text),
            Base::Time | Base::MicroTime | Base::Quantity | Base::IntOrString => Self::Scalar(Scalar::Any),
            Base::Struct => match field.ty() {
                Some(ty) => {
                    let one = field.container == Container::One;
                    let marker =
                        if field.struct_type.is_empty() { field.map_type } else { field.struct_type };
                    let atomic = match marker {
                        "atomic" if one => true,
                        "granular" if one => false,
                        _ => ty.is_atomic,
                    };
                    Self::structure(ty, atomic)
                }
                None => Self::Untyped,
            },
            Base::Raw | Base::Any | Base::SchemaOrBool | Base::SchemaOrArray | Base::SchemaOrStrings => {
                Self::Untyped
            }
        }
    }

    fn of_structural(schema: &'s Structural) -> Self {
        if schema.is_int_or_string {
            return Self::Scalar(Scalar::Any);
        }
        match schema.schema_type {
            SchemaType::String => Self::Scalar(Scalar::Text),
            SchemaType::Integer | SchemaType::Number => Self::Scalar(Scalar::Number),
            SchemaType::Boolean => Self::Scalar(Scalar::Flag),
            SchemaType::Any => Self::Untyped,
            SchemaType::Array => Self::Custom(schema),
            SchemaType::Object => {
                let says_nothing = schema.properties.is_empty()
                    && !matches!(schema.additional, Additional::Schema(_))
                    && schema.map_type() == MapType::Granular
                    && !schema.is_embedded;
                if says_nothing { Self::Untyped } else { Self::Custom(schema) }
            }
        }
    }

    /// The shape of the member `name`, with the field that declares it; none for a name that nothing allows.
    pub(super) fn member(self, name: &str) -> Option<(Self, Option<&'static Field>)> {
        match self {
            Self::Struct { ty, more, .. } => match ty.field(name) {
                Some(field) => Some((Self::of_field(field), Some(field))),
                None if ty.has_type_meta && is_type_member(name) => Some((Self::Scalar(Scalar::Text), None)),
                None => match more {
                    Some(schema) => custom_member(schema, name).map(|shape| (shape, None)),
                    None => ty.is_open.then_some((Self::Untyped, None)),
                },
            },
            Self::Map { field, .. } => Some((Self::of_element(field), None)),
            Self::Custom(schema) => custom_member(schema, name).map(|shape| (shape, None)),
            Self::Untyped => Some((Self::Untyped, None)),
            Self::Scalar(_) | Self::List { .. } | Self::Opaque => None,
        }
    }

    /// Whether the schema declares the member by its name.
    pub(super) fn declares(self, name: &str) -> bool {
        match self {
            Self::Struct { ty, more, .. } => {
                ty.field(name).is_some()
                    || (ty.has_type_meta && is_type_member(name))
                    || more.is_some_and(|schema| schema.property(name).is_some())
            }
            Self::Custom(schema) => schema.property(name).is_some(),
            _ => false,
        }
    }

    /// How the items of this list are told apart; none for what is no list.
    pub(super) fn items(self) -> Option<Items<'s>> {
        match self {
            Self::List { items, .. } => Some(items),
            Self::Custom(schema) if schema.schema_type == SchemaType::Array => {
                Some(match schema.list_type() {
                    ListType::Atomic => Items::Atomic,
                    ListType::Set => Items::Set,
                    ListType::Map => Items::KeyedBy(&schema.list_map_keys),
                })
            }
            _ => None,
        }
    }

    /// The shape of an item of this list.
    pub(super) fn item(self) -> Self {
        match self {
            Self::List { field, .. } => Self::of_element(field),
            Self::Custom(schema) => schema.items.as_deref().map_or(Self::Untyped, Self::of_structural),
            _ => Self::Untyped,
        }
    }

    /// What stands for a key that an item of this list leaves out.
    pub(super) fn key_default(self, key: &str) -> Option<&'s Value> {
        match self {
            Self::List { field, .. } => field.ty()?.field(key)?.default.as_ref(),
            Self::Custom(schema) => schema.items.as_deref()?.property(key)?.default.as_ref(),
            _ => None,
        }
    }

    /// What an element leads to: whether it is a declared member, and the shape of what stands there.
    pub(super) fn step(self, element: &Element) -> (bool, Option<Self>) {
        match element {
            Element::Field(name) => (self.declares(name), self.member(name).map(|(shape, _)| shape)),
            Element::Key(_) if self.items().is_some() => (false, Some(self.item())),
            _ => (false, None),
        }
    }

    /// How a value of this shape is walked. A null, or nothing, is walked as an object where one may stand.
    pub(super) fn walk(self, value: Option<&Value>) -> Walk {
        match self {
            Self::Scalar(_) | Self::Opaque => Walk::Leaf,
            Self::Struct { atomic: true, .. } | Self::Map { atomic: true, .. } => Walk::AtomicMap,
            Self::Struct { .. } | Self::Map { .. } => Walk::Map,
            Self::List { items: Items::Atomic, .. } => Walk::AtomicList,
            Self::List { .. } => Walk::List,
            Self::Custom(schema) => match (self.items(), schema.map_type()) {
                (Some(Items::Atomic), _) => Walk::AtomicList,
                (Some(_), _) => Walk::List,
                (None, MapType::Atomic) => Walk::AtomicMap,
                (None, MapType::Granular) => Walk::Map,
            },
            Self::Untyped => match value {
                Some(Value::List(_)) => Walk::AtomicList,
                None | Some(Value::Map(_) | Value::Null) => Walk::Map,
                Some(_) => Walk::Leaf,
            },
        }
    }
}

fn is_type_member(name: &str) -> bool {
    matches!(name, "apiVersion" | "kind")
}

fn custom_member<'s>(schema: &'s Structural, name: &str) -> Option<Shape<'s>> {
    if let Some(member) = schema.property(name) {
        return Some(Shape::of_structural(member));
    }
    if schema.is_embedded && is_type_member(name) {
        return Some(Shape::Scalar(Scalar::Text));
    }
    if schema.is_embedded && name == "metadata" {
        return Some(schema::lookup("meta/v1.ObjectMeta").map_or(Shape::Untyped, Shape::of));
    }
    match &schema.additional {
        Additional::Schema(member) => Some(Shape::of_structural(member)),
        Additional::Bool(true) => Some(Shape::Untyped),
        Additional::None | Additional::Bool(false) => schema.preserves_unknown.then_some(Shape::Untyped),
    }
}

/// How a value is walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Walk {
    /// One value.
    Leaf,
    /// An object owned as a whole.
    AtomicMap,
    /// An object by its members.
    Map,
    /// A list owned as a whole.
    AtomicList,
    /// A list by its items.
    List,
}

fn items(field: &'static Field) -> Items<'static> {
    match field.list_type {
        "set" => Items::Set,
        "map" => Items::Keyed(field.list_map_keys),
        // Older types state it by their patch strategy only.
        "" if field.patch_merges() && field.patch_merge_key.is_empty() => Items::Set,
        "" if field.patch_merges() => Items::Keyed(std::slice::from_ref(&field.patch_merge_key)),
        _ => Items::Atomic,
    }
}
