//! Why a body is refused, and the milder problems that are warnings unless strictness is asked for.

use crate::schema::{Field, Type};
use smol_str::SmolStr;

/// Why bytes are not the object they should be; the texts are upstream's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The body is not text.
    #[error("invalid UTF-8 at byte {at}")]
    NotUtf8 {
        /// The first byte that is not part of a character.
        at: usize,
    },
    /// The text is not JSON (or not YAML, or the bytes are not protobuf).
    #[error("{0}")]
    Syntax(String),
    /// The value is nested too deeply.
    #[error("exceeded max depth")]
    TooDeep,
    /// A value has the wrong JSON type.
    #[error("json: cannot unmarshal {got} into {place} of type {go_type}")]
    Type {
        /// What stands there.
        got: String,
        /// `Go struct field Type.path`, or `Go value`.
        place: String,
        /// Go's name for the wanted type.
        go_type: String,
    },
    /// A value's own text is wrong (a quantity, a time).
    #[error("{0}")]
    Value(String),
    /// Unknown or duplicate fields, and strictness was asked for.
    #[error("strict decoding error: {}", .0.join(", "))]
    Strict(Vec<String>),
}

impl DecodeError {
    /// A value of the wrong JSON type in a field of `owner`.
    pub(crate) fn mistyped(got: &str, owner: &Type, path: &[Step], go_type: String) -> Self {
        let place = if path.is_empty() {
            "Go value".to_owned()
        } else {
            format!("Go struct field {}.{}", owner.short_name(), go_path(path))
        };
        Self::Type { got: got.to_owned(), place, go_type }
    }

    /// The same for the field as a whole.
    pub(crate) fn misplaced(got: &str, owner: &Type, path: &[Step], field: &Field) -> Self {
        Self::mistyped(got, owner, path, field.go_type())
    }
}

/// One step from the root to a value.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// A struct's field.
    Field(&'static str),
    /// A map's key, or a field that the schema does not know.
    Key(SmolStr),
    /// A list's item.
    Index(usize),
}

/// The path as strict errors tell it: `spec.containers[0].foo`.
pub(crate) fn strict_path(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        let name = match step {
            Step::Field(name) => name,
            Step::Key(key) => key.as_str(),
            Step::Index(at) => {
                text.push('[');
                text.push_str(&at.to_string());
                text.push(']');
                continue;
            }
        };
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(name);
    }
    text
}

/// The path as type errors tell it: names of fields only.
fn go_path(path: &[Step]) -> String {
    let names = path.iter().filter_map(|step| match step {
        Step::Field(name) => Some(*name),
        _ => None,
    });
    names.collect::<Vec<_>>().join(".")
}

/// Unknown and duplicate fields met so far: each once, and no more than a hundred.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    found: Vec<String>,
}

impl Problems {
    const MAX: usize = 100;

    pub(crate) fn unknown(&mut self, path: &[Step]) {
        self.add("unknown", path);
    }

    pub(crate) fn duplicate(&mut self, path: &[Step]) {
        self.add("duplicate", path);
    }

    fn add(&mut self, what: &str, path: &[Step]) {
        if self.found.len() < Self::MAX {
            let text = format!("{what} field \"{}\"", strict_path(path));
            if !self.found.contains(&text) {
                self.found.push(text);
            }
        }
    }

    pub(crate) fn into_vec(self) -> Vec<String> {
        self.found
    }
}
