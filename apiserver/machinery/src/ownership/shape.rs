//! [`Shape`]: what the schema says about a value as far as ownership goes: who declares its members, and whether it is
//! owned in parts or as a whole. All typing of this module goes through here.

use super::element::Element;
use crate::schema::{Base, Container, Field, Type};
use crate::value::Value;

/// What a value is to the owners of its fields.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// A string, number, flag, or one of several of these.
    Scalar(Scalar),
    /// An object with declared members.
    Struct {
        /// Who declares them.
        ty: &'static Type,
        /// Whether it is owned as a whole.
        atomic: bool,
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
        items: Items,
    },
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
pub enum Items {
    /// Not at all: the list is owned as a whole.
    Atomic,
    /// By their value.
    Set,
    /// By the values of these members.
    Keyed(&'static [&'static str]),
}

impl Shape {
    /// The shape of an object of that type.
    pub fn of(ty: &'static Type) -> Self {
        Self::structure(ty, ty.is_atomic)
    }

    fn structure(ty: &'static Type, atomic: bool) -> Self {
        // A struct that declares nothing says nothing about what it holds.
        if ty.json_fields().next().is_none() && !ty.has_type_meta {
            return Self::Untyped;
        }
        Self::Struct { ty, atomic }
    }

    /// The shape of a field's value.
    pub(super) fn of_field(field: &'static Field) -> Self {
        match field.container {
            Container::One => Self::of_element(field),
            Container::List => Self::List { field, items: items(field) },
            Container::Map => Self::Map { field, atomic: field.map_type == "atomic" },
        }
    }

    /// The shape of an item or member of a field's value.
    pub(super) fn of_element(field: &'static Field) -> Self {
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

    /// The shape of the member `name`, with the field that declares it; none for a name that nothing allows.
    pub(super) fn member(self, name: &str) -> Option<(Self, Option<&'static Field>)> {
        match self {
            Self::Struct { ty, .. } => match ty.field(name) {
                Some(field) => Some((Self::of_field(field), Some(field))),
                None if ty.has_type_meta && matches!(name, "apiVersion" | "kind") => {
                    Some((Self::Scalar(Scalar::Text), None))
                }
                // A custom resource: its fields are owned by member, its lists as a whole.
                None if ty.is_open => Some((Self::Untyped, None)),
                None => None,
            },
            Self::Map { field, .. } => Some((Self::of_element(field), None)),
            Self::Untyped => Some((Self::Untyped, None)),
            Self::Scalar(_) | Self::List { .. } | Self::Opaque => None,
        }
    }

    /// Whether the schema declares the member by its name.
    pub(super) fn declares(self, name: &str) -> bool {
        matches!(self, Self::Struct { .. }) && self.member(name).is_some()
    }

    /// What an element leads to: whether it is a declared member, and the shape of what stands there.
    pub(super) fn step(self, element: &Element) -> (bool, Option<Self>) {
        match (self, element) {
            (_, Element::Field(name)) => {
                let member = self.member(name);
                (matches!(self, Self::Struct { .. }) && member.is_some(), member.map(|(shape, _)| shape))
            }
            (Self::List { field, .. }, Element::Key(_)) => (false, Some(Self::of_element(field))),
            _ => (false, None),
        }
    }

    /// How a value of this shape is walked. A null, or nothing, is walked as an object where one may stand.
    pub(super) const fn walk(self, value: Option<&Value>) -> Walk {
        match self {
            Self::Scalar(_) | Self::Opaque => Walk::Leaf,
            Self::Struct { atomic: true, .. } | Self::Map { atomic: true, .. } => Walk::AtomicMap,
            Self::Struct { .. } | Self::Map { .. } => Walk::Map,
            Self::List { items: Items::Atomic, .. } => Walk::AtomicList,
            Self::List { .. } => Walk::List,
            Self::Untyped => match value {
                Some(Value::List(_)) => Walk::AtomicList,
                None | Some(Value::Map(_) | Value::Null) => Walk::Map,
                Some(_) => Walk::Leaf,
            },
        }
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

fn items(field: &'static Field) -> Items {
    match field.list_type {
        "set" => Items::Set,
        "map" => Items::Keyed(field.list_map_keys),
        // Older types state it by their patch strategy only.
        "" if field.patch_merges() && field.patch_merge_key.is_empty() => Items::Set,
        "" if field.patch_merges() => Items::Keyed(std::slice::from_ref(&field.patch_merge_key)),
        _ => Items::Atomic,
    }
}
