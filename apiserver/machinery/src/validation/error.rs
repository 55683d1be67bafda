//! Errors about fields and the list that a validation fills. The texts are upstream's (`field.Error`): clients
//! and people compare them.

use super::Path;
use crate::value::Value;
use mainstay_proto_api::{Status, StatusCause};
use smol_str::SmolStr;
use std::fmt::Write as _;

/// Errors kept per list; more of them say nothing new and would only make the answer large.
const ERRORS_MAX: usize = 500;
/// Bytes of a bad value that an error shows.
const SHOWN_BYTES_MAX: usize = 4096;

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorType {
    /// A referenced value does not exist.
    NotFound,
    /// The field must have a value.
    Required,
    /// The value may occur only once.
    Duplicate,
    /// The value is malformed or out of bounds.
    Invalid,
    /// The value is not one of the allowed ones.
    NotSupported,
    /// The value is not permitted under these conditions.
    Forbidden,
    /// The value has too many bytes or characters.
    TooLong,
    /// The list has too many items.
    TooMany,
}

impl ErrorType {
    /// The reason in a Status cause.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
        }
    }

    const fn shows_value(self) -> bool {
        !matches!(self, Self::Required | Self::Forbidden | Self::TooLong)
    }
}

/// One error about one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// What is wrong.
    pub error_type: ErrorType,
    /// Path of the field.
    pub field: Path,
    /// The text without the path: `Invalid value: "x": must be no more than 63 bytes`.
    pub body: SmolStr,
}

impl FieldError {
    fn new(error_type: ErrorType, field: &Path, bad: Option<&Value>, detail: &str) -> Self {
        let mut body = String::from(error_type.text());
        if let Some(bad) = bad.filter(|_| error_type.shows_value()) {
            body.push_str(": ");
            body.push_str(&shown(bad));
        }
        if !detail.is_empty() {
            body.push_str(": ");
            body.push_str(detail);
        }
        Self { error_type, field: field.clone(), body: body.into() }
    }
}

impl std::fmt::Display for FieldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.body)
    }
}

fn shown(value: &Value) -> String {
    let mut text = match value {
        Value::Str(text) => quote(text),
        other => serde_json::to_string(other).unwrap_or_else(|_| String::from("<unprintable>")),
    };
    if text.len() > SHOWN_BYTES_MAX {
        let mut end = SHOWN_BYTES_MAX;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str("...");
    }
    text
}

/// Quotes `text` as Go's `%q` does.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0b' => out.push_str("\\v"),
            '\x0c' => out.push_str("\\f"),
            c if c.is_control() => {
                let code = u32::from(c);
                // Writing to a String cannot fail.
                let written =
                    if code < 0x80 { write!(out, "\\x{code:02x}") } else { write!(out, "\\u{code:04x}") };
                debug_assert!(written.is_ok());
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The errors that a validation found, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorList {
    errors: Vec<FieldError>,
}

impl ErrorList {
    /// An empty list.
    pub const fn new() -> Self {
        Self { errors: Vec::new() }
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    /// How many errors there are.
    pub fn len(&self) -> usize {
        self.errors.len()
    }

    /// The errors, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, FieldError> {
        self.errors.iter()
    }

    fn push(&mut self, error: FieldError) {
        if self.errors.len() < ERRORS_MAX && !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }

    /// Adds the errors of another list.
    pub fn append(&mut self, other: Self) {
        for error in other.errors {
            self.push(error);
        }
    }

    /// Adds errors that were found elsewhere.
    pub fn extend(&mut self, errors: impl IntoIterator<Item = FieldError>) {
        errors.into_iter().for_each(|error| self.push(error));
    }

    /// `Required value`, with why.
    pub fn required(&mut self, field: &Path, detail: &str) {
        self.push(FieldError::new(ErrorType::Required, field, None, detail));
    }

    /// `Invalid value: <value>: <detail>`.
    pub fn invalid(&mut self, field: &Path, value: impl Into<Value>, detail: &str) {
        self.push(FieldError::new(ErrorType::Invalid, field, Some(&value.into()), detail));
    }

    /// `Invalid value: <detail>`, without the value: a whole object or list says nothing.
    pub fn invalid_unshown(&mut self, field: &Path, detail: &str) {
        self.push(FieldError::new(ErrorType::Invalid, field, None, detail));
    }

    /// One [`ErrorList::invalid`] for each text.
    pub fn invalid_each(&mut self, field: &Path, value: &str, details: impl IntoIterator<Item = String>) {
        for detail in details {
            self.invalid(field, value, &detail);
        }
    }

    /// `Unsupported value: <value>: supported values: "A", "B"`, in the given order.
    pub fn not_supported(&mut self, field: &Path, value: impl Into<Value>, supported: &[&str]) {
        let mut detail = String::new();
        for (i, one) in supported.iter().enumerate() {
            detail.push_str(if i == 0 { "supported values: " } else { ", " });
            detail.push_str(&quote(one));
        }
        self.push(FieldError::new(ErrorType::NotSupported, field, Some(&value.into()), &detail));
    }

    /// `Forbidden: <detail>`.
    pub fn forbidden(&mut self, field: &Path, detail: &str) {
        self.push(FieldError::new(ErrorType::Forbidden, field, None, detail));
    }

    /// `Duplicate value: <value>`.
    pub fn duplicate(&mut self, field: &Path, value: impl Into<Value>) {
        self.push(FieldError::new(ErrorType::Duplicate, field, Some(&value.into()), ""));
    }

    /// `Duplicate value: <value>: <detail>`.
    pub fn duplicate_with(&mut self, field: &Path, value: impl Into<Value>, detail: &str) {
        self.push(FieldError::new(ErrorType::Duplicate, field, Some(&value.into()), detail));
    }

    /// `Not found: <value>`.
    pub fn not_found(&mut self, field: &Path, value: impl Into<Value>) {
        self.push(FieldError::new(ErrorType::NotFound, field, Some(&value.into()), ""));
    }

    /// `Not found: <value>: <detail>`.
    pub fn not_found_with(&mut self, field: &Path, value: impl Into<Value>, detail: &str) {
        self.push(FieldError::new(ErrorType::NotFound, field, Some(&value.into()), detail));
    }

    /// `Too long: may not be more than <max> bytes`.
    pub fn too_long(&mut self, field: &Path, max: usize) {
        let unit = if max == 1 { "byte" } else { "bytes" };
        self.push(FieldError::new(
            ErrorType::TooLong,
            field,
            None,
            &format!("may not be more than {max} {unit}"),
        ));
    }

    /// `Too many: <actual>: must have at most <max> items`.
    pub fn too_many(&mut self, field: &Path, actual: usize, max: usize) {
        let unit = if max == 1 { "item" } else { "items" };
        let actual = Value::Int(i64::try_from(actual).unwrap_or(i64::MAX));
        let detail = format!("must have at most {max} {unit}");
        self.push(FieldError::new(ErrorType::TooMany, field, Some(&actual), &detail));
    }

    /// The 422 answer, or nothing when the list is empty.
    pub fn into_status(self, group: &str, kind: &str, name: &str) -> Option<Status> {
        if self.errors.is_empty() {
            return None;
        }
        let mut texts: Vec<String> = Vec::with_capacity(self.errors.len());
        let mut causes = Vec::with_capacity(self.errors.len());
        for error in self.errors {
            let text = error.to_string();
            if !texts.contains(&text) {
                texts.push(text);
            }
            causes.push(StatusCause {
                reason: error.error_type.reason().into(),
                message: error.body.into(),
                field: error.field.as_str().into(),
            });
        }
        let text = match texts.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        Some(Status::invalid(group, kind, name, &text, causes))
    }

    /// `Ok` for an empty list, else the 422 answer.
    ///
    /// # Errors
    /// The Status with reason `Invalid` and one cause for each error.
    pub fn into_result(self, group: &str, kind: &str, name: &str) -> Result<(), Status> {
        self.into_status(group, kind, name).map_or(Ok(()), Err)
    }
}

impl<'a> IntoIterator for &'a ErrorList {
    type Item = &'a FieldError;
    type IntoIter = std::slice::Iter<'a, FieldError>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(fill: impl FnOnce(&mut ErrorList, &Path)) -> String {
        let mut errors = ErrorList::new();
        fill(&mut errors, &Path::new("spec").child("x"));
        errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn bodies_read_as_upstreams() {
        assert_eq!(text(|e, p| e.required(p, "")), "spec.x: Required value");
        assert_eq!(text(|e, p| e.required(p, "must be set")), "spec.x: Required value: must be set");
        assert_eq!(text(|e, p| e.invalid(p, "a\"b", "no")), "spec.x: Invalid value: \"a\\\"b\": no");
        assert_eq!(text(|e, p| e.invalid(p, 7, "no")), "spec.x: Invalid value: 7: no");
        assert_eq!(text(|e, p| e.invalid(p, Value::Null, "no")), "spec.x: Invalid value: null: no");
        assert_eq!(
            text(|e, p| e.not_supported(p, "C", &["A", "B"])),
            "spec.x: Unsupported value: \"C\": supported values: \"A\", \"B\""
        );
        assert_eq!(text(|e, p| e.forbidden(p, "no")), "spec.x: Forbidden: no");
        assert_eq!(text(|e, p| e.duplicate(p, "a")), "spec.x: Duplicate value: \"a\"");
        assert_eq!(text(|e, p| e.too_long(p, 63)), "spec.x: Too long: may not be more than 63 bytes");
        assert_eq!(text(|e, p| e.too_many(p, 5, 1)), "spec.x: Too many: 5: must have at most 1 item");
    }

    #[test]
    fn an_empty_list_is_no_status() {
        assert!(ErrorList::new().into_status("apps", "Deployment", "a").is_none());
    }

    #[test]
    fn a_long_value_is_cut() {
        let long = "é".repeat(SHOWN_BYTES_MAX);
        let shown = text(|e, p| e.invalid(p, long.as_str(), "no"));
        assert!(shown.len() < SHOWN_BYTES_MAX + 100, "{}", shown.len());
    }
}
