//! [`lay_over`]: what a mutating policy states laid over an object. Owners play no part, and nothing is removed: what is
//! owned as a whole must not be stated, as it would replace what the object has there.

use super::check::check;
use super::element::Element;
use super::merge::merge;
use super::shape::{Shape, Walk};
use super::typed_error::TypedError;
use crate::value::Value;

/// Why something cannot be laid over an object, in upstream's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayError {
    /// What is stated does not fit the schema.
    #[error("failed to convert patch object to typed object: {0}")]
    Config(#[source] TypedError),
    /// It states what is owned as a whole, at these paths.
    #[error("invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {}", .0.join(", "))]
    Atomic(Vec<String>),
    /// It cannot be merged.
    #[error("failed to merge patch: {0}")]
    Merge(#[source] TypedError),
}

/// `live` with `config` laid over it; both of that shape.
///
/// # Errors
/// [`LayError`].
pub fn lay_over(shape: Shape<'_>, live: &Value, config: &Value) -> Result<Value, LayError> {
    check(shape, config).map_err(LayError::Config)?;
    let mut found = Vec::new();
    atomics(shape, config, &mut String::new(), &mut found);
    if !found.is_empty() {
        return Err(LayError::Atomic(found));
    }
    merge(shape, live, config).map_err(LayError::Merge)
}

/// The paths of what `value` states that is owned as a whole.
fn atomics(shape: Shape<'_>, value: &Value, path: &mut String, found: &mut Vec<String>) {
    let walk = shape.walk(Some(value));
    let is_whole =
        matches!((walk, value), (Walk::AtomicMap, Value::Map(_)) | (Walk::AtomicList, Value::List(_)));
    if is_whole {
        found.push(path.clone());
    }
    let length = path.len();
    match value {
        Value::Map(map) => {
            for (name, member) in map.iter().filter(|(name, _)| shape.declares(name)) {
                let Some((child, _)) = shape.member(name) else { continue };
                path.push_str(&Element::Field(name.clone()).to_string());
                atomics(child, member, path, found);
                path.truncate(length);
            }
        }
        Value::List(items) if shape.items().is_some() => {
            for (at, item) in items.iter().enumerate() {
                path.push_str(&Element::Index(i64::try_from(at).unwrap_or(i64::MAX)).to_string());
                atomics(shape.item(), item, path, found);
                path.truncate(length);
            }
        }
        _ => {}
    }
}
