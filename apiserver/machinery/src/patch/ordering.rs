//! Order of merged lists: items of the patch follow the patch's order, items that only the server has keep theirs,
//! and the two are interleaved by the server's order where it knows both.

use super::PatchError;
use super::error::malformed;
use crate::value::Value;
use smol_str::SmolStr;
use std::collections::HashMap;

/// An item's identity in a list: the merge key's value, or the scalar itself. Hashing keeps merging linear.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Ident {
    Null,
    Bool(bool),
    Int(i64),
    /// A number's bits, so that it can be hashed.
    Float(u64),
    Str(SmolStr),
    /// A list or map as text: equal text is equal value, since maps are sorted.
    Nested(String),
}

impl Ident {
    pub(super) fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(v) => Self::Bool(*v),
            Value::Int(v) => Self::Int(*v),
            Value::Float(v) => Self::Float(v.to_bits()),
            Value::Str(v) => Self::Str(v.clone()),
            nested => Self::Nested(crate::json::to_string(nested)),
        }
    }

    /// The identity of an item of a list with this merge key; with none, the item is a scalar.
    pub(super) fn of_item(item: &Value, merge_key: &str) -> Result<Self, PatchError> {
        if merge_key.is_empty() {
            return Ok(Self::of(item));
        }
        match item {
            Value::Map(map) => match map.get(merge_key) {
                Some(value) => Ok(Self::of(value)),
                None => no_merge_key(item, merge_key),
            },
            other => {
                malformed(format!("expected a map[string]interface {{}}, but received a {}", go_kind(other)))
            }
        }
    }
}

/// The error about an item without its key.
pub(super) fn no_merge_key<T>(item: &Value, merge_key: &str) -> Result<T, PatchError> {
    malformed(format!(
        "map: {} does not contain declared merge key: {merge_key}",
        crate::json::to_string(item)
    ))
}

/// Go's name of a decoded JSON type.
pub(super) const fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int64",
        Value::Float(_) => "float64",
        Value::Str(_) => "string",
        Value::List(_) => "[]interface {}",
        Value::Map(_) => "map[string]interface {}",
    }
}

/// Positions by identity; of equal ones the first counts.
fn positions(order: &[Value], merge_key: &str) -> Result<HashMap<Ident, usize>, PatchError> {
    let mut places = HashMap::with_capacity(order.len());
    for (at, item) in order.iter().enumerate() {
        places.entry(Ident::of_item(item, merge_key)?).or_insert(at);
    }
    Ok(places)
}

/// Orders `merged`: `patch_order` names the items of the patch, `server_order` is the list as it was.
pub(super) fn enforce(
    merged: Vec<Value>,
    patch_order: &[Value],
    server_order: &[Value],
    merge_key: &str,
) -> Result<Vec<Value>, PatchError> {
    let by_patch = positions(patch_order, merge_key)?;
    let by_server = positions(server_order, merge_key)?;
    // (place in the patch or in the server's list, place in the server's list, item)
    let (mut patched, mut server_only) = (Vec::new(), Vec::new());
    for item in merged {
        let ident = Ident::of_item(&item, merge_key)?;
        let server = by_server.get(&ident).copied();
        match by_patch.get(&ident) {
            Some(place) => patched.push((*place, server, item)),
            None => server_only.push((server.unwrap_or(usize::MAX), server, item)),
        }
    }
    patched.sort_by_key(|(place, ..)| *place);
    server_only.sort_by_key(|(place, ..)| *place);
    let mut out = Vec::with_capacity(patched.len() + server_only.len());
    let mut left = server_only.into_iter().peekable();
    for (_, right_server, right) in patched {
        while let Some((_, left_server, _)) = left.peek() {
            let before = matches!((left_server, right_server), (Some(l), Some(r)) if *l < r);
            if !before {
                break;
            }
            out.extend(left.next().map(|(.., item)| item));
        }
        out.push(right);
    }
    out.extend(left.map(|(.., item)| item));
    Ok(out)
}
