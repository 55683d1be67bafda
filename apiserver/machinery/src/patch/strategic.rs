//! Strategic merge: lists merge by the keys that the schema names, and directives (`$patch`, `$retainKeys`,
//! `$setElementOrder/…`, `$deleteFromPrimitiveList/…`) say the rest.

use super::PatchError;
use super::error::{malformed, unprocessable};
use super::ordering::{Ident, enforce, go_kind, no_merge_key};
use crate::schema::{Base, Container, Field, Type};
use crate::value::{Key, Map, Value};
use std::collections::{HashMap, HashSet};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_PREFIX: &str = "$deleteFromPrimitiveList";
const ORDER_PREFIX: &str = "$setElementOrder";

/// `$setElementOrder` lists that one map of a patch may have; no type has more lists.
const ORDERS_MAX: usize = 64;

const BAD_RETAIN_KEYS: &str = "invalid patch format of retainKeys";
const BAD_DELETE_LIST: &str = "invalid patch format of primitive list";
const BAD_ORDER_LIST: &str = "invalid patch format of setElementOrder list";

/// Applies a strategic merge patch to an object of this type.
pub fn strategic_merge(target: &Value, patch: &Value, ty: &'static Type) -> Result<Value, PatchError> {
    let Value::Map(patch) = patch else { return malformed("invalid JSON document") };
    let original = match target {
        Value::Map(map) => map.clone(),
        _ => Map::new(),
    };
    merge_map(original, patch.clone(), Schema::Struct(ty)).map(Value::Map)
}

/// What is known about the members of a map.
#[derive(Clone, Copy)]
enum Schema {
    /// A struct's fields.
    Struct(&'static Type),
    /// A map whose values are structs of this type.
    MapOf(&'static Type),
    /// Anything: maps merge, lists replace.
    Free,
}

/// What is known about one member.
#[derive(Clone, Copy)]
struct Member {
    schema: Schema,
    merges: bool,
    replaces: bool,
    merge_key: &'static str,
}

impl Schema {
    fn member(self, key: &str) -> Result<Member, PatchError> {
        let free = Member { schema: Self::Free, merges: false, replaces: false, merge_key: "" };
        match self {
            Self::Free => Ok(free),
            Self::MapOf(ty) => Ok(Member { schema: Self::Struct(ty), ..free }),
            Self::Struct(ty) => match ty.field(key) {
                Some(field) => Ok(Member {
                    schema: within(field),
                    merges: field.patch_merges(),
                    replaces: field.patch_strategy.contains(&"replace"),
                    merge_key: field.patch_merge_key,
                }),
                None => malformed(format!("unable to find api field \"{key}\" in {}", ty.short_name())),
            },
        }
    }
}

fn within(field: &'static Field) -> Schema {
    match (field.base, field.ty()) {
        (Base::Struct, Some(ty)) if field.container == Container::Map => Schema::MapOf(ty),
        (Base::Struct, Some(ty)) => Schema::Struct(ty),
        _ => Schema::Free,
    }
}

fn bad_patch_type<T>(directive: &Value, patch: &Map) -> Result<T, PatchError> {
    let directive = directive.as_str().map_or_else(|| crate::json::to_string(directive), ToOwned::to_owned);
    let patch = crate::json::to_string(&Value::Map(patch.clone()));
    malformed(format!("unknown patch type: {directive} in map: {patch}"))
}

fn merge_map(mut original: Map, mut patch: Map, schema: Schema) -> Result<Map, PatchError> {
    if let Some(directive) = patch.remove(DIRECTIVE) {
        return match directive.as_str() {
            Some("replace") => Ok(patch),
            Some("delete") => Ok(Map::new()),
            _ => bad_patch_type(&directive, &patch),
        };
    }
    if let Some(kept) = patch.remove(RETAIN_KEYS) {
        retain_keys(&mut original, &patch, &kept)?;
    }
    set_element_orders(&mut original, &mut patch, schema)?;
    let mut rest = Vec::with_capacity(patch.len());
    for (key, value) in patch {
        match key.strip_prefix(DELETE_PREFIX) {
            Some(name) => {
                let Some(name) = name.strip_prefix('/') else { return malformed(BAD_DELETE_LIST) };
                delete_from_list(&mut original, name, &value)?;
            }
            None => rest.push((key, value)),
        }
    }
    original.try_join(Map::from_pairs(rest), |key, old, new| merge_member(key, old, new, schema))
}

/// `$retainKeys`: drops what is not named, and refuses a patch that sets what is not named.
fn retain_keys(original: &mut Map, patch: &Map, kept: &Value) -> Result<(), PatchError> {
    let Value::List(kept) = kept else { return malformed(BAD_RETAIN_KEYS) };
    let kept: HashSet<&str> = kept.iter().filter_map(Value::as_str).collect();
    for (key, value) in patch {
        let directive = key.starts_with(DELETE_PREFIX) || key.starts_with(ORDER_PREFIX);
        if !value.is_null() && !directive && !kept.contains(key.as_str()) {
            return malformed(BAD_RETAIN_KEYS);
        }
    }
    original.retain(|key, _| kept.contains(key));
    Ok(())
}

/// `$deleteFromPrimitiveList/<name>`: removes scalars from a list.
fn delete_from_list(original: &mut Map, name: &str, doomed: &Value) -> Result<(), PatchError> {
    let Value::List(doomed) = doomed else { return malformed(BAD_DELETE_LIST) };
    if let Some(Value::List(items)) = original.get_mut(name) {
        let doomed: HashSet<Ident> = doomed.iter().map(Ident::of).collect();
        items.retain(|item| !doomed.contains(&Ident::of(item)));
    }
    Ok(())
}

/// One member of a map: what the patch makes of it, or nothing.
fn merge_member(
    key: &str,
    old: Option<Value>,
    new: Option<Value>,
    schema: Schema,
) -> Result<Option<Value>, PatchError> {
    Ok(match (old, new) {
        (old, None) => old,
        (_, Some(Value::Null)) => None,
        (Some(Value::Map(old)), Some(Value::Map(new))) => {
            let member = schema.member(key)?;
            Some(Value::Map(if member.replaces { new } else { merge_map(old, new, member.schema)? }))
        }
        (Some(Value::List(old)), Some(Value::List(new))) => {
            let member = schema.member(key)?;
            Some(Value::List(if member.merges { merge_list(old, new, member)? } else { new }))
        }
        (_, Some(new)) => plain(new),
    })
}

/// What a patch's value is where there is nothing to merge with: no nulls, no directives; nothing at all for a map
/// that is a directive itself.
fn plain(value: Value) -> Option<Value> {
    match value {
        Value::Map(map) if map.contains_key(DIRECTIVE) => None,
        Value::Map(map) => {
            let members = map.into_iter().filter(|(key, value)| !value.is_null() && !is_directive(key));
            let members = members.filter_map(|(key, value)| Some((key, plain(value)?)));
            Some(Value::Map(Map::from_pairs(members.collect())))
        }
        Value::List(items) => Some(Value::List(items.into_iter().filter_map(plain).collect())),
        scalar => Some(scalar),
    }
}

fn is_directive(key: &str) -> bool {
    key == RETAIN_KEYS || key.starts_with("$setElementOrder/") || key.starts_with("$deleteFromPrimitiveList/")
}

/// Refuses lists of lists and lists of unlike items; true when the items are maps.
fn holds_maps(original: &[Value], patch: &[Value]) -> Result<bool, PatchError> {
    let mut items = original.iter().chain(patch);
    let Some(first) = items.next() else { return Ok(false) };
    if matches!(first, Value::List(_)) {
        return unprocessable("lists of lists are not supported");
    }
    if items.any(|item| go_kind(item) != go_kind(first)) {
        return malformed("list element types are not identical");
    }
    Ok(matches!(first, Value::Map(_)))
}

fn merge_list(original: Vec<Value>, patch: Vec<Value>, member: Member) -> Result<Vec<Value>, PatchError> {
    if original.is_empty() && patch.is_empty() {
        return Ok(original);
    }
    if !holds_maps(&original, &patch)? {
        let mut seen = HashSet::new();
        let both = original.iter().chain(&patch);
        let merged = both.filter(|item| seen.insert(Ident::of(item))).cloned().collect();
        return enforce(merged, &patch, &original, "");
    }
    if member.merge_key.is_empty() {
        return malformed("cannot merge lists without merge key");
    }
    let (original, patch) = apply_directives(original, patch, member.merge_key)?;
    let server_order = keys_only(&original, member.merge_key);
    let patch_order = keys_only(&patch, member.merge_key);
    let merged = merge_items(original, patch, member)?;
    enforce(merged, &patch_order, &server_order, member.merge_key)
}

/// The items with nothing but their merge key: all that ordering needs. Items without the key stay whole.
fn keys_only(items: &[Value], merge_key: &str) -> Vec<Value> {
    let key_of = |item: &Value| match item.get(merge_key) {
        Some(value) => Value::Map(Map::from_pairs(vec![(merge_key.into(), value.clone())])),
        None => item.clone(),
    };
    items.iter().map(key_of).collect()
}

/// Takes the directives out of a patch's items and applies them to the original.
fn apply_directives(
    mut original: Vec<Value>,
    patch: Vec<Value>,
    merge_key: &str,
) -> Result<(Vec<Value>, Vec<Value>), PatchError> {
    let mut rest = Vec::with_capacity(patch.len());
    let mut doomed = HashSet::new();
    let mut replace = false;
    for item in patch {
        let Some(directive) = item.get(DIRECTIVE) else {
            rest.push(item);
            continue;
        };
        match directive.as_str() {
            Some("delete") => match item.get(merge_key) {
                Some(key) => drop(doomed.insert(Ident::of(key))),
                None => return no_merge_key(&item, merge_key),
            },
            Some("replace") => replace = true,
            Some("merge") => return malformed("merging lists cannot yet be specified in the patch"),
            _ => return bad_patch_type(directive, item.as_map().unwrap_or(&Map::new())),
        }
    }
    if replace {
        return Ok((rest, Vec::new()));
    }
    if !doomed.is_empty() {
        original.retain(|item| !item.get(merge_key).is_some_and(|key| doomed.contains(&Ident::of(key))));
    }
    Ok((original, rest))
}

fn merge_items(
    mut original: Vec<Value>,
    patch: Vec<Value>,
    member: Member,
) -> Result<Vec<Value>, PatchError> {
    let mut places: HashMap<Ident, usize> = HashMap::with_capacity(original.len());
    for (at, item) in original.iter().enumerate() {
        if let Some(key) = item.get(member.merge_key) {
            places.entry(Ident::of(key)).or_insert(at);
        }
    }
    for item in patch {
        let ident = Ident::of_item(&item, member.merge_key)?;
        if let Some(slot) = places.get(&ident).and_then(|at| original.get_mut(*at)) {
            if let (Value::Map(old), Value::Map(new)) = (slot.take(), item) {
                *slot = Value::Map(merge_map(old, new, member.schema)?);
            }
        } else {
            places.insert(ident, original.len());
            original.extend(plain(item));
        }
    }
    Ok(original)
}

/// Every `$setElementOrder/<name>`: merges the list it names and puts it into the order given.
fn set_element_orders(original: &mut Map, patch: &mut Map, schema: Schema) -> Result<(), PatchError> {
    let directives: Vec<Key> = patch.keys().filter(|key| key.starts_with(ORDER_PREFIX)).cloned().collect();
    if directives.len() > ORDERS_MAX {
        return malformed(format!(
            "a map has {} $setElementOrder lists, more than {ORDERS_MAX}",
            directives.len()
        ));
    }
    for directive in directives {
        let Some(order) = patch.remove(&directive) else { continue };
        let Some(name) = directive.strip_prefix(ORDER_PREFIX).and_then(|rest| rest.strip_prefix('/')) else {
            return malformed(BAD_ORDER_LIST);
        };
        let Value::List(order) = order else {
            return malformed(format!("expected a []interface {{}}, but received a {}", go_kind(&order)));
        };
        let patched = take_list(patch, name)?;
        let old = take_list(original, name)?;
        let member = schema.member(name)?;
        check_order(patched.as_deref().unwrap_or_default(), &order, member.merge_key)?;
        let (merged, server_order) = match (old, patched) {
            (None, None) => continue,
            (Some(old), None) => (old.clone(), old),
            (None, Some(new)) => (new.into_iter().filter_map(plain).collect(), Vec::new()),
            (Some(old), Some(new)) if member.merges => (merge_list(old.clone(), new, member)?, old),
            (Some(old), Some(new)) => (new, old),
        };
        if merged.is_empty() {
            original.insert(name, merged);
            continue;
        }
        let ordered = enforce(merged, &order, &server_order, member.merge_key)?;
        original.insert(name, ordered);
    }
    Ok(())
}

fn take_list(map: &mut Map, name: &str) -> Result<Option<Vec<Value>>, PatchError> {
    match map.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::List(items)) => Ok(Some(items)),
        Some(other) => malformed(format!("expected a []interface {{}}, but received a {}", go_kind(&other))),
    }
}

/// The items of a patch must stand in the order given, in the same relative order.
fn check_order(patch: &[Value], order: &[Value], merge_key: &str) -> Result<(), PatchError> {
    if patch.is_empty() || order.is_empty() {
        return Ok(());
    }
    let mut rest = order.iter();
    for item in patch.iter().filter(|item| item.get(DIRECTIVE).is_none()) {
        let ident = Ident::of_item(item, merge_key)?;
        loop {
            let Some(next) = rest.next() else {
                let list = |items: &[Value]| crate::json::to_string(&Value::List(items.to_vec()));
                return malformed(format!(
                    "The order in patch list:\n{}\n doesn't match {ORDER_PREFIX} list:\n{}\n",
                    list(patch),
                    list(order)
                ));
            };
            if Ident::of_item(next, merge_key)? == ident {
                break;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "strategic_tests.rs"]
mod tests;
