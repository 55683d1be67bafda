//! Checks of one field that many kinds share.

use super::{ErrorList, Path};
use crate::value::Value;

/// Detail of an error about a field that may not change.
pub const FIELD_IS_IMMUTABLE: &str = "field is immutable";

/// Requires that a field did not change.
pub fn immutable(new: Option<&Value>, old: Option<&Value>, path: &Path, errors: &mut ErrorList) {
    if new != old {
        errors.invalid(path, new.cloned().unwrap_or(Value::Null), FIELD_IS_IMMUTABLE);
    }
}

/// Requires that a number, where present, is not negative.
pub fn non_negative(value: Option<i64>, path: &Path, errors: &mut ErrorList) {
    if let Some(value) = value.filter(|value| *value < 0) {
        errors.invalid(path, value, "must be greater than or equal to 0");
    }
}

/// Requires that a string is one of `supported`, which are shown in the given order.
pub fn one_of(value: &str, supported: &[&str], path: &Path, errors: &mut ErrorList) {
    if !supported.contains(&value) {
        errors.not_supported(path, value, supported);
    }
}
