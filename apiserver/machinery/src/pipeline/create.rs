//! A create: what the server writes into a new object, and the checks before it is stored.

use super::{name, timestamp};
use crate::kind::Kind;
use crate::object::{Meta, MetaMut};
use crate::validation::{ErrorList, validate_finalizer_names, validate_meta};
use crate::value::Value;
use mainstay_proto_api::Status;
use time::OffsetDateTime;

/// What a create takes from outside: the time and randomness.
#[derive(Clone, Copy, Debug)]
pub struct Creation<'a> {
    /// Now.
    pub now: OffsetDateTime,
    /// A fresh random uid.
    pub uid: &'a str,
    /// A fresh suffix for a generated name, see [`super::name_suffix`].
    pub name_suffix: &'a str,
}

/// Writes the system's metadata, generates the name, and lets the kind drop what clients may not set. Comes after
/// mutating admission. What upstream's form always shows (such as an empty `status`) stands again afterwards.
///
/// # Errors
/// A 500 with upstream's text when the object carries a resource version; a 405 for a kind that is closed.
pub fn prepare_create(kind: &Kind, object: &mut Value, creation: &Creation<'_>) -> Result<(), Status> {
    if kind.rules.is_closed() {
        let text = "create not allowed while custom resource definition is terminating";
        return Err(Status::failure(405, "MethodNotAllowed", text));
    }
    if !matches!(Meta(object).resource_version(), "" | "0") {
        return Err(Status::failure(500, "", "resourceVersion should not be set on objects to be created"));
    }
    if kind.is_stored() {
        let mut meta = MetaMut(object);
        if meta.read().name().is_empty() && !meta.read().generate_name().is_empty() {
            let generated = name::generate(meta.read().generate_name(), creation.name_suffix);
            meta.set_name(&generated);
        }
        for name in ["selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion"] {
            meta.remove(name);
        }
        meta.set_uid(creation.uid);
        meta.set_creation_timestamp(&timestamp(creation.now));
        if kind.rules.tracks_generation() {
            meta.set_generation(1);
        }
    }
    kind.rules.drop_gated(object, None);
    kind.rules.prepare_create(object);
    kind.schema().fill_zeros(object);
    Ok(())
}

/// Checks a prepared new object. The answer is the texts of `Warning` headers.
///
/// # Errors
/// A 422 with one cause for each fault.
pub fn validate_create(kind: &Kind, object: &Value) -> Result<Vec<String>, Status> {
    let mut errors = ErrorList::new();
    if kind.is_stored() {
        validate_meta(object, kind.namespaced, kind.rules.name_rule(), &mut errors);
        if kind.has_checked_finalizers() {
            validate_finalizer_names(object, &mut errors);
        }
    }
    kind.rules.validate(object, &mut errors);
    errors.into_result(kind.group, kind.kind, Meta(object).name())?;
    Ok(kind.rules.warnings(object, None))
}
