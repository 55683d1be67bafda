//! A place in an object: the value there and its path, kept in step so that an error names the field that was
//! read.

use super::{ErrorList, Path};
use crate::value::{Map, Value};

static ABSENT: Value = Value::Null;

/// Detail of an error about a field that may not change.
pub const FIELD_IS_IMMUTABLE: &str = "field is immutable";

/// A value inside an object, with its path. An absent field reads as null.
#[derive(Clone, Debug)]
pub struct At<'a> {
    /// What stands there.
    pub value: &'a Value,
    /// Where that is.
    pub path: Path,
}

impl<'a> At<'a> {
    /// The object itself.
    pub fn root(value: &'a Value) -> Self {
        Self { value, path: Path::root() }
    }

    /// A value at a path.
    pub fn new(value: &'a Value, path: Path) -> Self {
        Self { value, path }
    }

    /// The field `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Self {
        Self { value: self.value.get(name).unwrap_or(&ABSENT), path: self.path.child(name) }
    }

    /// The field at the end of several names.
    #[must_use]
    pub fn dig(&self, names: &[&str]) -> Self {
        let mut here = self.clone();
        for name in names {
            here = here.get(name);
        }
        here
    }

    /// Whether anything stands there.
    pub fn is_set(&self) -> bool {
        !self.value.is_null()
    }

    /// Whether the field `name` is there.
    pub fn has(&self, name: &str) -> bool {
        self.value.get(name).is_some_and(|value| !value.is_null())
    }

    /// The string there; empty when there is none.
    pub fn text(&self) -> &'a str {
        self.value.as_str().unwrap_or_default()
    }

    /// The string in the field `name`, without forming its path; empty when there is none.
    pub fn text_of(&self, name: &str) -> &'a str {
        self.value.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// The number there.
    pub fn int(&self) -> Option<i64> {
        self.value.as_i64()
    }

    /// The boolean there; false when there is none.
    pub fn flag(&self) -> bool {
        self.value.as_bool().unwrap_or_default()
    }

    /// The map there.
    pub fn map(&self) -> Option<&'a Map> {
        self.value.as_map()
    }

    /// How many items or entries there are.
    pub fn len(&self) -> usize {
        match self.value {
            Value::List(items) => items.len(),
            Value::Map(map) => map.len(),
            _ => 0,
        }
    }

    /// Whether there are no items, entries or characters.
    pub fn is_empty(&self) -> bool {
        match self.value {
            Value::Str(text) => text.is_empty(),
            _ => self.len() == 0,
        }
    }

    /// The items of the list there.
    pub fn items(&self) -> impl Iterator<Item = At<'a>> + use<'a> {
        let path = self.path.clone();
        let items = self.value.as_list().unwrap_or_default();
        items.iter().enumerate().map(move |(i, value)| At { value, path: path.index(i) })
    }

    /// The entries of the map there, in key order.
    pub fn entries(&self) -> impl Iterator<Item = (&'a str, At<'a>)> + use<'a> {
        let path = self.path.clone();
        let entries = self.value.as_map().into_iter().flatten();
        entries.map(move |(key, value)| (key.as_str(), At { value, path: path.key(key) }))
    }

    /// Reports that a value is required, unless there is a non-empty one. Answers whether there is.
    pub fn require(&self, errors: &mut ErrorList, detail: &str) -> bool {
        let missing = match self.value {
            Value::Null => true,
            Value::Bool(_) | Value::Int(_) | Value::Float(_) => false,
            _ => self.is_empty(),
        };
        if missing {
            errors.required(&self.path, detail);
        }
        !missing
    }

    /// Reports that the value is invalid.
    pub fn invalid(&self, errors: &mut ErrorList, detail: &str) {
        errors.invalid(&self.path, self.value.clone(), detail);
    }

    /// Reports each fault of the string there.
    pub fn invalid_each(&self, errors: &mut ErrorList, faults: Vec<String>) {
        for fault in faults {
            self.invalid(errors, &fault);
        }
    }

    /// Reports a string that is not one of `supported`, which are shown in the given order.
    pub fn one_of(&self, errors: &mut ErrorList, supported: &[&str]) {
        if !supported.contains(&self.text()) {
            errors.not_supported(&self.path, self.text(), supported);
        }
    }

    /// Reports a number below zero.
    pub fn non_negative(&self, errors: &mut ErrorList) {
        if self.int().is_some_and(|value| value < 0) {
            self.invalid(errors, "must be greater than or equal to 0");
        }
    }

    /// Reports a number outside bounds, both inclusive; an absent one is not reported.
    pub fn in_range(&self, errors: &mut ErrorList, min: i64, max: i64) {
        if let Some(value) = self.int() {
            self.invalid_each(errors, super::names::in_range(value, min, max));
        }
    }

    /// Reports a change against the value that the old object has there.
    pub fn unchanged(&self, errors: &mut ErrorList, old: &At<'_>) {
        if self.value != old.value {
            self.invalid(errors, FIELD_IS_IMMUTABLE);
        }
    }
}
