//! Types of expressions.

use crate::shape::Shape;
use smol_str::SmolStr;
use std::fmt;
use std::sync::Arc;

/// A type. Objects are the same type only when they come from the same place of the same schema.
#[derive(Debug, Clone, Default)]
pub enum Type {
    /// Known when the expression runs.
    #[default]
    Dyn,
    /// `null`.
    Null,
    /// A boolean.
    Bool,
    /// A signed whole number.
    Int,
    /// An unsigned whole number.
    Uint,
    /// A floating point number.
    Double,
    /// A string.
    Str,
    /// Bytes.
    Bytes,
    /// A length of time.
    Duration,
    /// A point in time.
    Timestamp,
    /// A list.
    List(Arc<Type>),
    /// A map.
    Map(Arc<(Type, Type)>),
    /// An object of a schema.
    Object(Arc<Shape>),
    /// A value that may be absent.
    Optional(Arc<Type>),
    /// One of Kubernetes' own types, by name.
    Named(&'static str),
    /// An object that expressions make, by the name of its type.
    Made(SmolStr),
    /// A type as a value.
    Type,
}

impl Type {
    /// A list of `item`.
    pub fn list(item: Self) -> Self {
        Self::List(Arc::new(item))
    }

    /// A map.
    pub fn map(key: Self, value: Self) -> Self {
        Self::Map(Arc::new((key, value)))
    }

    /// An optional.
    pub fn optional(value: Self) -> Self {
        Self::Optional(Arc::new(value))
    }

    /// Whether a value of `self` may be one of `other`; what is only known at run time may be anything.
    pub(crate) fn fits(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Dyn, _) | (_, Self::Dyn) => true,
            (Self::List(one), Self::List(other)) | (Self::Optional(one), Self::Optional(other)) => {
                one.fits(other)
            }
            (Self::Map(one), Self::Map(other)) => one.0.fits(&other.0) && one.1.fits(&other.1),
            (Self::Object(one), Self::Object(other)) => Arc::ptr_eq(one, other) || one == other,
            (Self::Named(one), Self::Named(other)) => one == other,
            (Self::Made(one), Self::Made(other)) => one == other,
            (Self::Null, other) | (other, Self::Null) => {
                matches!(
                    other,
                    Self::Null
                        | Self::Object(_)
                        | Self::Optional(_)
                        | Self::Named(_)
                        | Self::Made(_)
                        | Self::Timestamp
                        | Self::Duration
                )
            }
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }

    /// The type of a value that is of one of two types.
    pub(crate) fn join(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Dyn, _) | (_, Self::Dyn) => Self::Dyn,
            (Self::List(one), Self::List(other)) => Self::list(one.join(other)),
            (one, other) if one.fits(other) => one.clone(),
            _ => Self::Dyn,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dyn => f.write_str("dyn"),
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Uint => f.write_str("uint"),
            Self::Double => f.write_str("double"),
            Self::Str => f.write_str("string"),
            Self::Bytes => f.write_str("bytes"),
            Self::Duration => f.write_str("google.protobuf.Duration"),
            Self::Timestamp => f.write_str("google.protobuf.Timestamp"),
            Self::List(item) => write!(f, "list({item})"),
            Self::Map(pair) => write!(f, "map({}, {})", pair.0, pair.1),
            Self::Object(shape) => f.write_str(&shape.name),
            Self::Optional(value) => write!(f, "optional_type({value})"),
            Self::Named(name) => f.write_str(name),
            Self::Made(name) => f.write_str(name),
            Self::Type => f.write_str("type"),
        }
    }
}
