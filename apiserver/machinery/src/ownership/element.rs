//! [`Element`]: one step of a path, with its order, its text in error messages and its key in `fieldsV1`.

use crate::json;
use crate::value::Value;
use smol_str::SmolStr;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// One step from a value to a part of it.
#[derive(Debug, Clone)]
pub enum Element {
    /// A member of an object, by name.
    Field(SmolStr),
    /// An item of a list with keys, by the keys and their values, sorted by name.
    Key(Arc<[(SmolStr, Value)]>),
    /// An item of a set, by its value.
    Item(Arc<Value>),
    /// An item of a list, by its place. Never made here; old owners may hold it.
    Index(i64),
}

/// Why a key of `fieldsV1` is not an element.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ElementError {
    /// Shorter than its tag.
    #[error("key must be 2 characters long: {0}")]
    Short(String),
    /// No colon after the tag.
    #[error("missing colon: {0}")]
    NoColon(String),
    /// What follows the tag is not what the tag says.
    #[error("{text}: {reason}")]
    Malformed {
        /// The key.
        text: String,
        /// What is wrong.
        reason: String,
    },
}

impl Element {
    /// A member of that name.
    pub fn field(name: &str) -> Self {
        Self::Field(SmolStr::new(name))
    }

    /// The item of a keyed list with these keys, in any order.
    pub fn key(mut keys: Vec<(SmolStr, Value)>) -> Self {
        keys.sort_by(|a, b| a.0.cmp(&b.0));
        Self::Key(keys.into())
    }

    /// The item of a set.
    pub fn item(value: &Value) -> Self {
        Self::Item(Arc::new(value.clone()))
    }

    /// Reads a key of `fieldsV1`: `f:name`, `k:{"a":1}`, `v:"x"`, `i:3`. None for tags that a later version may add.
    ///
    /// # Errors
    /// A key that is none of these.
    pub fn parse(text: &str) -> Result<Option<Self>, ElementError> {
        let malformed =
            |reason: String| ElementError::Malformed { text: text.chars().take(64).collect(), reason };
        let [tag, colon, ..] = text.as_bytes() else {
            return Err(ElementError::Short(text.to_owned()));
        };
        let rest = text.get(2..).unwrap_or_default();
        if *colon != b':' {
            return Err(ElementError::NoColon(text.chars().take(64).collect()));
        }
        Ok(Some(match tag {
            b'f' => Self::field(rest),
            b'v' => Self::Item(Arc::new(
                json::decode_free(rest.as_bytes()).map_err(|e| malformed(e.to_string()))?,
            )),
            b'k' => match json::decode_free(rest.as_bytes()).map_err(|e| malformed(e.to_string()))? {
                Value::Map(map) => Self::Key(map.into_iter().collect::<Vec<_>>().into()),
                _ => return Err(malformed("not an object".to_owned())),
            },
            b'i' => Self::Index(rest.parse().map_err(|_parse| malformed("not a whole number".to_owned()))?),
            _ => return Ok(None),
        }))
    }

    /// The key that stands for this element in `fieldsV1`.
    pub fn text(&self) -> SmolStr {
        match self {
            Self::Field(name) => {
                let mut text = smol_str::SmolStrBuilder::new();
                text.push_str("f:");
                text.push_str(name);
                text.finish()
            }
            Self::Key(keys) => {
                let mut text = b"k:{".to_vec();
                for (at, (name, value)) in keys.iter().enumerate() {
                    if at > 0 {
                        text.push(b',');
                    }
                    json::write_string(name, &mut text);
                    text.push(b':');
                    json::encode(value, &mut text);
                }
                text.push(b'}');
                SmolStr::new(String::from_utf8_lossy(&text))
            }
            Self::Item(value) => SmolStr::new(format!("v:{}", json::to_string(value))),
            Self::Index(at) => SmolStr::new(format!("i:{at}")),
        }
    }

    const fn rank(&self) -> u8 {
        match self {
            Self::Field(_) => 0,
            Self::Key(_) => 1,
            Self::Item(_) => 2,
            Self::Index(_) => 3,
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Key(keys) => {
                f.write_str("[")?;
                for (at, (name, value)) in keys.iter().enumerate() {
                    let comma = if at > 0 { "," } else { "" };
                    write!(f, "{comma}{name}={}", Shown(value))?;
                }
                f.write_str("]")
            }
            Self::Item(value) => write!(f, "[={}]", Shown(value)),
            Self::Index(at) => write!(f, "[{at}]"),
        }
    }
}

/// A value as conflict texts show it.
struct Shown<'a>(&'a Value);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Str(text) => f.write_str(&crate::validation::quote(text)),
            other => f.write_str(&json::to_string(other)),
        }
    }
}

/// Whether two values are equal, whole numbers and others compared by what they count.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    if a == b {
        return true;
    }
    match (a, b) {
        (Value::Int(_), Value::Float(_)) | (Value::Float(_), Value::Int(_)) => a.as_f64() == b.as_f64(),
        (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|((k, v), (l, w))| k == l && same(v, w))
        }
        _ => false,
    }
}

/// A total order of values: numbers, strings, flags, lists, objects, null.
fn order(a: &Value, b: &Value) -> Ordering {
    const fn rank(value: &Value) -> u8 {
        match value {
            Value::Int(_) | Value::Float(_) => 0,
            Value::Str(_) => 1,
            Value::Bool(_) => 2,
            Value::List(_) => 3,
            Value::Map(_) => 4,
            Value::Null => 5,
        }
    }
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Int(_) | Value::Float(_), Value::Int(_) | Value::Float(_)) => {
            // Adding nothing makes zeros alike: a negative one is written, and read again, as a whole number that has no sign.
            let number = |value: &Value| value.as_f64().unwrap_or_default() + 0.0;
            number(a).total_cmp(&number(b))
        }
        (Value::Str(a), Value::Str(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::List(a), Value::List(b)) => {
            let items = a.iter().zip(b).map(|(a, b)| order(a, b)).find(|o| o.is_ne());
            items.unwrap_or_else(|| a.len().cmp(&b.len()))
        }
        (Value::Map(a), Value::Map(b)) => pairs(a.iter(), b.iter()),
        _ => rank(a).cmp(&rank(b)),
    }
}

fn pairs<'a>(
    a: impl ExactSizeIterator<Item = &'a (SmolStr, Value)>,
    b: impl ExactSizeIterator<Item = &'a (SmolStr, Value)>,
) -> Ordering {
    let lengths = a.len().cmp(&b.len());
    let members = a.zip(b).map(|((k, v), (l, w))| k.cmp(l).then_with(|| order(v, w)));
    members.into_iter().find(|o| o.is_ne()).unwrap_or(lengths)
}

impl Ord for Element {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Field(a), Self::Field(b)) => a.cmp(b),
            (Self::Key(a), Self::Key(b)) => pairs(a.iter(), b.iter()),
            (Self::Item(a), Self::Item(b)) => order(a, b),
            (Self::Index(a), Self::Index(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Element {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Element {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Element {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_same_however_they_are_written() {
        for (one, other) in [(r#"k:{"port":-0.0}"#, r#"k:{"port":0}"#), ("v:6.0", "v:6"), ("v:-0.0", "v:0.0")]
        {
            let [one, other] = [one, other].map(|text| Element::parse(text).unwrap().unwrap());
            assert_eq!(one, other);
            assert_eq!(Element::parse(&one.text()).unwrap().unwrap(), one);
        }
    }
}
