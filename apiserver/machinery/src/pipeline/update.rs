//! An update of an object, of its status or of another part: what a client may not change is restored, the
//! generation grows with the wanted state, and the result is checked against what is stored.

use crate::kind::{Kind, restore_meta};
use crate::object::{Meta, MetaMut};
use crate::ownership;
use crate::validation::{ErrorList, validate_finalizer_names, validate_meta_update};
use crate::value::Value;
use mainstay_proto_api::Status;

/// What an update is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// The object itself.
    Object,
    /// Its `status` subresource.
    Status,
    /// Another subresource that stores part of the object, by name.
    Part(&'a str),
}

/// What upstream says of a stored object that does not meet a precondition; clients show it, controllers look for its end.
pub fn invalid_stored(kind: &Kind, (namespace, name): (&str, &str), why: &str) -> String {
    let prefix = kind.storage.as_ref().map(|storage| storage.prefix).unwrap_or_default();
    let slash = if namespace.is_empty() { "" } else { "/" };
    let key = format!("/registry/{prefix}/{namespace}{slash}{name}");
    format!(
        "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: {why}"
    )
}

/// Checks the preconditions of an update and restores what it may not change. `old` is the stored object with its
/// resource version. Comes after mutating admission.
///
/// # Errors
/// A 409 when the resource version or the uid is not that of `old`; a 422 when the version is absent and the kind
/// needs one; what the kind says about a part.
pub fn prepare_update(kind: &Kind, target: Target<'_>, new: &mut Value, old: &Value) -> Result<(), Status> {
    let before = Meta(old);
    check_resource_version(kind, new, old)?;
    let uid = Meta(new).uid();
    if !uid.is_empty() && uid != before.uid() {
        let text =
            format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", before.uid());
        let text = invalid_stored(kind, (before.namespace(), before.name()), &text);
        return Err(Status::conflict(kind.group, kind.plural, before.name(), text));
    }
    let mut meta = MetaMut(new);
    meta.remove("selfLink");
    meta.set_uid(before.uid());
    meta.set_resource_version(before.resource_version());
    restore_meta(new, old, "creationTimestamp");
    restore_meta(new, old, "generation");
    if before.is_deleting() {
        restore_meta(new, old, "deletionTimestamp");
        if Meta(new).deletion_grace_period_seconds().is_none() {
            restore_meta(new, old, "deletionGracePeriodSeconds");
        }
    }
    kind.rules.drop_gated(new, Some(old));
    match target {
        Target::Object => {
            kind.rules.prepare_update(new, old);
            if kind.rules.tracks_generation() && kind.rules.generation_changed(new, old) {
                MetaMut(new).set_generation(before.generation().saturating_add(1));
            }
        }
        Target::Status => kind.rules.prepare_status(new, old),
        Target::Part(name) => {
            kind.rules.prepare_subresource(name, new, old)?;
            if kind.rules.tracks_generation() && kind.rules.generation_changed(new, old) {
                MetaMut(new).set_generation(before.generation().saturating_add(1));
            }
        }
    }
    Ok(())
}

fn check_resource_version(kind: &Kind, new: &Value, old: &Value) -> Result<(), Status> {
    let (stated, stored) = (Meta(new).resource_version(), Meta(old).resource_version());
    match stated {
        "" | "0" if kind.rules.unconditional_update() => Ok(()),
        "" | "0" => {
            let mut errors = ErrorList::new();
            let path = crate::validation::Path::new("metadata").child("resourceVersion");
            errors.invalid(&path, 0, "must be specified for an update");
            errors.into_result(kind.group, kind.kind, Meta(old).name())
        }
        same if same == stored => Ok(()),
        _ => Err(Status::modified(kind.group, kind.plural, Meta(old).name())),
    }
}

/// Checks a prepared update. The answer is the texts of `Warning` headers.
///
/// # Errors
/// A 422 with one cause for each fault.
pub fn validate_update(
    kind: &Kind,
    target: Target<'_>,
    new: &Value,
    old: &Value,
) -> Result<Vec<String>, Status> {
    let mut errors = ErrorList::new();
    validate_meta_update(new, old, &mut errors);
    if kind.has_checked_finalizers() {
        validate_finalizer_names(new, &mut errors);
    }
    match target {
        Target::Object => kind.rules.validate_update(new, old, &mut errors),
        Target::Status => kind.rules.validate_status(new, old, &mut errors),
        Target::Part(name) => kind.rules.validate_subresource(name, new, old, &mut errors),
    }
    errors.into_result(kind.group, kind.kind, Meta(new).name())?;
    Ok(if target == Target::Object { kind.rules.warnings(new, Some(old)) } else { Vec::new() })
}

/// Whether an update changes nothing but the times of field owners, so that nothing is stored and the resource version
/// stays.
pub fn is_unchanged(new: &Value, old: &Value) -> bool {
    new == old || ownership::differ_in_time_only(new, old)
}

/// Whether an update takes away the last thing that kept a deleted object, so that it is removed in place of
/// stored.
pub fn removes_object(kind: &Kind, new: &Value) -> bool {
    let meta = Meta(new);
    meta.is_deleting()
        && meta.finalizers().next().is_none()
        && meta.deletion_grace_period_seconds().unwrap_or_default() == 0
        && !kind.rules.holds_deletion(new)
}
