//! The way from client-side apply: what kubectl's annotation says was applied may be taken over without a conflict, and
//! the annotation is kept up to date for clients that still read it.

use super::collect::field_set;
use super::compare::compare;
use super::conflict::Conflict;
use super::field_set::FieldSet;
use super::shape::Shape;
use crate::json;
use crate::object::Meta;
use crate::validation::ANNOTATIONS_BYTES_MAX;
use crate::value::Value;

/// Where client-side apply keeps what it applied.
pub const LAST_APPLIED_ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The manager for whom the annotation counts.
pub(super) const KUBECTL: &str = "kubectl";

/// Conflicts that client-side apply does not explain.
pub(super) fn unexplained(
    conflicts: Vec<Conflict>,
    shape: Shape<'_>,
    live: &Value,
    api_version: &str,
) -> Vec<Conflict> {
    match applied_before(shape, live, api_version) {
        Some(allowed) => conflicts.into_iter().filter(|conflict| !allowed.has(&conflict.path)).collect(),
        None => conflicts,
    }
}

/// The fields that the annotation states and that still have the stated value.
fn applied_before(shape: Shape<'_>, live: &Value, api_version: &str) -> Option<FieldSet> {
    let text = Meta(live).annotation(LAST_APPLIED_ANNOTATION).filter(|text| !text.is_empty())?;
    let applied = json::decode_free(text.as_bytes()).ok()?;
    if Meta(&applied).api_version() != api_version {
        return None;
    }
    let set = field_set(shape, &applied).ok()?;
    let changes = compare(shape, &applied, live).ok()?;
    Some(set.difference(&changes.modified).difference(&changes.added).difference(&changes.removed))
}

/// Sets the annotation to `config`, where `object` has it; drops it when it would be too long.
pub(super) fn refresh(object: &mut Value, config: &Value) {
    let path = &["metadata", "annotations"];
    let present = Meta(object).annotation(LAST_APPLIED_ANNOTATION).is_some_and(|text| !text.is_empty());
    if !present {
        return;
    }
    let mut applied = config.clone();
    applied.remove_path(&["metadata", "annotations", LAST_APPLIED_ANNOTATION]);
    if applied.path(path).and_then(Value::as_map).is_some_and(crate::value::Map::is_empty) {
        applied.remove_path(path);
    }
    let text = format!("{}\n", json::to_string(&applied));
    let Some(annotations) = object.path_mut(path).and_then(Value::as_map_mut) else { return };
    annotations.insert(LAST_APPLIED_ANNOTATION, text);
    let bytes: usize = annotations.iter().map(|(k, v)| k.len() + v.as_str().map_or(0, str::len)).sum();
    if bytes > ANNOTATIONS_BYTES_MAX {
        annotations.remove(LAST_APPLIED_ANNOTATION);
    }
}
