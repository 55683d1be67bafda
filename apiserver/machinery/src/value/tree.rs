//! [`Value`]: the tree itself, with paths and conversions.

use super::Map;
use smol_str::SmolStr;

/// One JSON value. Numbers written without fraction or exponent that fit are `Int`, all others `Float`.
#[derive(Clone, Default, PartialEq)]
pub enum Value {
    /// `null`.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number; always finite.
    Float(f64),
    /// A string.
    Str(SmolStr),
    /// An array.
    List(Vec<Value>),
    /// An object.
    Map(Map),
}

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(v) => v.fmt(f),
            Self::Int(v) => v.fmt(f),
            Self::Float(v) => v.fmt(f),
            Self::Str(v) => v.fmt(f),
            Self::List(v) => v.fmt(f),
            Self::Map(v) => v.fmt(f),
        }
    }
}

impl Value {
    /// A new empty map.
    pub const fn map() -> Self {
        Self::Map(Map::new())
    }

    /// The member `key`, if this is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.as_map()?.get(key)
    }

    /// The member `key`, to change in place.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        self.as_map_mut()?.get_mut(key)
    }

    /// The value at the end of `path`, walking maps only.
    pub fn path(&self, path: &[&str]) -> Option<&Value> {
        path.iter().try_fold(self, |value, key| value.get(key))
    }

    /// The value at the end of `path`, to change in place.
    pub fn path_mut(&mut self, path: &[&str]) -> Option<&mut Value> {
        path.iter().try_fold(self, |value, key| value.get_mut(key))
    }

    /// The string at the end of `path`.
    pub fn path_str(&self, path: &[&str]) -> Option<&str> {
        self.path(path)?.as_str()
    }

    /// The whole number at the end of `path`.
    pub fn path_i64(&self, path: &[&str]) -> Option<i64> {
        self.path(path)?.as_i64()
    }

    /// The flag at the end of `path`.
    pub fn path_bool(&self, path: &[&str]) -> Option<bool> {
        self.path(path)?.as_bool()
    }

    /// The items of the list at the end of `path`; empty when there is none.
    pub fn path_list(&self, path: &[&str]) -> &[Value] {
        self.path(path).and_then(Value::as_list).unwrap_or_default()
    }

    /// The map at the end of `path`.
    pub fn path_map(&self, path: &[&str]) -> Option<&Map> {
        self.path(path)?.as_map()
    }

    /// Sets the value at the end of `path`; whatever on the way is not a map becomes one.
    pub fn set_path(&mut self, path: &[&str], value: impl Into<Value>) {
        let mut at = self;
        for key in path {
            at = at.make_map().get_or_insert(key, || Value::Null);
        }
        *at = value.into();
    }

    /// Takes out the value at the end of `path`; the maps on the way stay.
    pub fn remove_path(&mut self, path: &[&str]) -> Option<Value> {
        let (last, parents) = path.split_last()?;
        self.path_mut(parents)?.as_map_mut()?.remove(last)
    }

    /// This value as a map; anything else is replaced by an empty map first.
    pub fn make_map(&mut self) -> &mut Map {
        if !matches!(self, Self::Map(_)) {
            *self = Self::map();
        }
        match self {
            Self::Map(map) => map,
            _ => unreachable!("the value was just made a map"),
        }
    }

    /// Takes the value out, leaving null.
    pub fn take(&mut self) -> Value {
        std::mem::take(self)
    }

    /// Whether this is `null`.
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Whether this is null, an empty string, list or map, zero or false: what `omitempty` leaves out.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Bool(v) => !v,
            Self::Int(v) => *v == 0,
            Self::Float(v) => *v == 0.0,
            Self::Str(v) => v.is_empty(),
            Self::List(v) => v.is_empty(),
            Self::Map(v) => v.is_empty(),
        }
    }

    /// The string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(v) => Some(v),
            _ => None,
        }
    }

    /// The string as shared text (a clone of it is cheap), if it is one.
    pub const fn as_smol(&self) -> Option<&SmolStr> {
        match self {
            Self::Str(v) => Some(v),
            _ => None,
        }
    }

    /// The whole number, if it is one.
    pub const fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Int(v) => Some(*v),
            _ => None,
        }
    }

    /// The number, whole or not.
    pub const fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Int(v) => Some(*v as f64),
            Self::Float(v) => Some(*v),
            _ => None,
        }
    }

    /// The flag, if it is one.
    pub const fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(v) => Some(*v),
            _ => None,
        }
    }

    /// The items, if it is a list.
    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Self::List(v) => Some(v),
            _ => None,
        }
    }

    /// The items to change in place, if it is a list.
    pub const fn as_list_mut(&mut self) -> Option<&mut Vec<Value>> {
        match self {
            Self::List(v) => Some(v),
            _ => None,
        }
    }

    /// The members, if it is a map.
    pub const fn as_map(&self) -> Option<&Map> {
        match self {
            Self::Map(v) => Some(v),
            _ => None,
        }
    }

    /// The members to change in place, if it is a map.
    pub const fn as_map_mut(&mut self) -> Option<&mut Map> {
        match self {
            Self::Map(v) => Some(v),
            _ => None,
        }
    }

    /// What upstream's decoder calls this shape in its error texts.
    pub const fn json_kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Int(_) | Self::Float(_) => "number",
            Self::Str(_) => "string",
            Self::List(_) => "array",
            Self::Map(_) => "object",
        }
    }
}

macro_rules! from {
    ($($source:ty => |$v:ident| $body:expr;)*) => {
        $(impl From<$source> for Value {
            fn from($v: $source) -> Self { $body }
        })*
    };
}

from! {
    bool => |v| Self::Bool(v);
    i64 => |v| Self::Int(v);
    i32 => |v| Self::Int(v.into());
    u32 => |v| Self::Int(v.into());
    u16 => |v| Self::Int(v.into());
    usize => |v| i64::try_from(v).map_or(Self::Float(v as f64), Self::Int);
    u64 => |v| i64::try_from(v).map_or(Self::Float(v as f64), Self::Int);
    f64 => |v| if v.is_finite() { Self::Float(v) } else { Self::Null };
    &str => |v| Self::Str(SmolStr::new(v));
    String => |v| Self::Str(SmolStr::from(v));
    &String => |v| Self::Str(SmolStr::new(v));
    SmolStr => |v| Self::Str(v);
    &SmolStr => |v| Self::Str(v.clone());
    Map => |v| Self::Map(v);
    &Value => |v| v.clone();
    () => |_v| Self::Null;
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(v: Option<T>) -> Self {
        v.map_or(Self::Null, Into::into)
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(v: Vec<T>) -> Self {
        Self::List(v.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Value>, const N: usize> From<[T; N]> for Value {
    fn from(v: [T; N]) -> Self {
        Self::List(v.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Value>> FromIterator<T> for Value {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}

impl PartialEq<str> for Value {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == Some(other)
    }
}

impl PartialEq<&str> for Value {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == Some(*other)
    }
}

impl PartialEq<i64> for Value {
    fn eq(&self, other: &i64) -> bool {
        self.as_i64() == Some(*other)
    }
}

impl PartialEq<bool> for Value {
    fn eq(&self, other: &bool) -> bool {
        self.as_bool() == Some(*other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    #[test]
    fn set_path_makes_the_maps_on_its_way() {
        let mut v = value!({"a": 1});
        v.set_path(&["a", "b", "c"], "x");
        assert_eq!(v, value!({"a": {"b": {"c": "x"}}}));
        assert_eq!(v.remove_path(&["a", "b", "c"]), Some(Value::from("x")));
        assert_eq!(v, value!({"a": {"b": {}}}));
        assert_eq!(v.remove_path(&["z", "b"]), None);
    }

    #[test]
    fn a_value_is_four_words_at_most() {
        assert!(std::mem::size_of::<Value>() <= 32, "{}", std::mem::size_of::<Value>());
    }
}
