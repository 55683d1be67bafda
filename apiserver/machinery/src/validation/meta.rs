//! The checks of `metadata` that hold for every kind, on creates and on updates.

use super::names::{dns_label, dns_subdomain, label_value, path_segment, qualified_name};
use super::{ErrorList, FIELD_IS_IMMUTABLE, Path};
use crate::kind::NameRule;
use crate::object::Meta;
use crate::value::{Map, Value};

/// Bytes that the keys and values of all annotations of an object may take.
pub const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;

/// Keeps the dependents of a deleted object.
pub const FINALIZER_ORPHAN: &str = "orphan";
/// Deletes the dependents before the object itself.
pub const FINALIZER_FOREGROUND: &str = "foregroundDeletion";

/// Finalizers without a domain.
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", FINALIZER_ORPHAN, FINALIZER_FOREGROUND];

/// What is wrong with a name. A `prefix` is completed by more characters, so it may end with a dash.
pub fn validate_name(rule: NameRule, name: &str, prefix: bool) -> Vec<String> {
    let masked;
    let name = match name.strip_suffix('-') {
        Some(base) if prefix && !base.is_empty() && rule != NameRule::PathSegment => {
            masked = format!("{base}a");
            masked.as_str()
        }
        _ => name,
    };
    match rule {
        NameRule::Subdomain => dns_subdomain(name),
        NameRule::Label => dns_label(name),
        NameRule::PathSegment => path_segment(name),
    }
}

/// Checks labels: keys and values.
pub fn validate_labels(labels: Option<&Map>, path: &Path, errors: &mut ErrorList) {
    for (key, value) in labels.into_iter().flatten() {
        errors.invalid_each(path, key, qualified_name(key));
        let value = value.as_str().unwrap_or_default();
        errors.invalid_each(path, value, label_value(value));
    }
}

/// Checks annotations: keys, and the size of all together.
pub fn validate_annotations(annotations: Option<&Map>, path: &Path, errors: &mut ErrorList) {
    let mut bytes = 0;
    for (key, value) in annotations.into_iter().flatten() {
        errors.invalid_each(path, key, qualified_name(&key.to_lowercase()));
        bytes += key.len() + value.as_str().unwrap_or_default().len();
    }
    if bytes > ANNOTATIONS_BYTES_MAX {
        errors.too_long(path, ANNOTATIONS_BYTES_MAX);
    }
}

/// Checks the metadata of an object by itself.
pub fn validate_meta(object: &Value, namespaced: bool, rule: NameRule, errors: &mut ErrorList) {
    let path = Path::new("metadata");
    let meta = Meta(object);
    let generate_name = meta.generate_name();
    if !generate_name.is_empty() {
        errors.invalid_each(
            &path.child("generateName"),
            generate_name,
            validate_name(rule, generate_name, true),
        );
    }
    let name = meta.name();
    if name.is_empty() {
        errors.required(&path.child("name"), "name or generateName is required");
    } else {
        errors.invalid_each(&path.child("name"), name, validate_name(rule, name, false));
        if rule != NameRule::PathSegment {
            errors.invalid_each(&path.child("name"), name, path_segment(name));
        }
    }
    let namespace = meta.namespace();
    match (namespaced, namespace.is_empty()) {
        (true, true) => errors.required(&path.child("namespace"), ""),
        (true, false) => errors.invalid_each(&path.child("namespace"), namespace, dns_label(namespace)),
        (false, false) => errors.forbidden(&path.child("namespace"), "not allowed on this type"),
        (false, true) => {}
    }
    if meta.generation() < 0 {
        errors.invalid(&path.child("generation"), meta.generation(), "must be greater than or equal to 0");
    }
    validate_shared(meta, &path, errors);
    validate_finalizers(meta, &path.child("finalizers"), errors);
}

/// Checks the metadata of an update: what may not change, and what a new state must satisfy.
pub fn validate_meta_update(new: &Value, old: &Value, errors: &mut ErrorList) {
    let path = Path::new("metadata");
    let (meta, before) = (Meta(new), Meta(old));
    if before.is_deleting() {
        let mut added: Vec<&str> = meta.finalizers().filter(|f| !before.has_finalizer(f)).collect();
        if !added.is_empty() {
            added.sort_unstable();
            added.dedup();
            let added: Vec<String> = added.into_iter().map(super::quote).collect();
            errors.forbidden(
                &path.child("finalizers"),
                &format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                    added.join(", ")
                ),
            );
        }
    }
    if meta.resource_version().is_empty() {
        errors.invalid(&path.child("resourceVersion"), "", "must be specified for an update");
    }
    if meta.generation() < before.generation() {
        errors.invalid(&path.child("generation"), meta.generation(), "must not be decremented");
    }
    for (name, new, old) in [
        ("name", meta.name(), before.name()),
        ("namespace", meta.namespace(), before.namespace()),
        ("uid", meta.uid(), before.uid()),
    ] {
        if new != old {
            errors.invalid(&path.child(name), new, FIELD_IS_IMMUTABLE);
        }
    }
    for name in ["creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        let read = |object: &Value| object.path(&["metadata", name]).filter(|v| !v.is_null()).cloned();
        let value = read(new);
        if value != read(old) {
            errors.invalid(&path.child(name), value.unwrap_or(Value::Null), FIELD_IS_IMMUTABLE);
        }
    }
    validate_shared(meta, &path, errors);
    validate_finalizers(meta, &path.child("finalizers"), errors);
}

fn validate_shared(meta: Meta<'_>, path: &Path, errors: &mut ErrorList) {
    validate_labels(meta.labels(), &path.child("labels"), errors);
    validate_annotations(meta.annotations(), &path.child("annotations"), errors);
    validate_owners(meta, &path.child("ownerReferences"), errors);
}

fn validate_owners(meta: Meta<'_>, path: &Path, errors: &mut ErrorList) {
    let mut controller: Option<String> = None;
    for owner in meta.owner_references() {
        let version = owner.api_version.rsplit('/').next().unwrap_or_default();
        if version.is_empty() {
            errors.invalid(&path.child("apiVersion"), owner.api_version, "version must not be empty");
        }
        for (field, value) in [("kind", owner.kind), ("name", owner.name), ("uid", owner.uid)] {
            if value.is_empty() {
                errors.invalid(&path.child(field), value, "must not be empty");
            }
        }
        if owner.api_version == "v1" && owner.kind == "Event" {
            errors.invalid(path, owner.name, "/v1, Kind=Event is disallowed from being an owner");
        }
        if owner.controller {
            let this = format!("{}/{}", owner.kind, owner.name);
            if let Some(first) = &controller {
                let all = meta.0.path(&["metadata", "ownerReferences"]).cloned().unwrap_or(Value::Null);
                errors.invalid(
                    path,
                    all,
                    &format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} \
                         and {this}"
                    ),
                );
            } else {
                controller = Some(this);
            }
        }
    }
}

/// Checks that finalizers are standard ones or have a domain. Custom resources may have others: operators of old do.
pub fn validate_finalizer_names(object: &Value, errors: &mut ErrorList) {
    let path = Path::new("metadata").child("finalizers");
    for (i, finalizer) in Meta(object).finalizers().enumerate() {
        if !finalizer.contains('/') && !STANDARD_FINALIZERS.contains(&finalizer) {
            errors.invalid(
                &path.index(i),
                finalizer,
                "name is neither a standard finalizer name nor is it fully qualified",
            );
        }
    }
}

fn validate_finalizers(meta: Meta<'_>, path: &Path, errors: &mut ErrorList) {
    for finalizer in meta.finalizers() {
        errors.invalid_each(path, finalizer, qualified_name(finalizer));
    }
    if meta.has_finalizer(FINALIZER_ORPHAN) && meta.has_finalizer(FINALIZER_FOREGROUND) {
        let all = meta.0.path(&["metadata", "finalizers"]).cloned().unwrap_or(Value::Null);
        errors.invalid(
            path,
            all,
            &format!("finalizer {FINALIZER_ORPHAN} and {FINALIZER_FOREGROUND} cannot be both set"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    fn faults(object: &Value) -> Vec<String> {
        let mut errors = ErrorList::new();
        validate_meta(object, true, NameRule::Subdomain, &mut errors);
        validate_finalizer_names(object, &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    fn update_faults(new: &Value, old: &Value) -> Vec<String> {
        let mut errors = ErrorList::new();
        validate_meta_update(new, old, &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_name_is_required() {
        let object = value!({"metadata": {"namespace": "a"}});
        assert_eq!(faults(&object), ["metadata.name: Required value: name or generateName is required"]);
    }

    #[test]
    fn a_prefix_may_end_with_a_dash() {
        assert!(validate_name(NameRule::Subdomain, "web-", true).is_empty());
        assert!(!validate_name(NameRule::Subdomain, "web-", false).is_empty());
    }

    #[test]
    fn annotations_have_a_common_limit() {
        let mut object = value!({"metadata": {"name": "a", "namespace": "a"}});
        object.set_path(&["metadata", "annotations", "k"], "x".repeat(ANNOTATIONS_BYTES_MAX - 1));
        assert!(faults(&object).is_empty());
        object.set_path(&["metadata", "annotations", "l"], "");
        assert_eq!(faults(&object), ["metadata.annotations: Too long: may not be more than 262144 bytes"]);
    }

    #[test]
    fn one_owner_may_be_the_controller() {
        let object = value!({"metadata": {"name": "a", "namespace": "a", "ownerReferences": [
            {"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "1", "controller": true},
            {"apiVersion": "v1", "kind": "Pod", "name": "y", "uid": "2", "controller": true}]}});
        let found = faults(&object);
        assert_eq!(found.len(), 1);
        assert!(found[0].ends_with(
            "Only one reference can have Controller set to true. Found \"true\" in references for Pod/x and Pod/y"
        ));
    }

    #[test]
    fn a_deleted_object_takes_no_new_finalizer() {
        let old = value!({"metadata": {"name": "a", "resourceVersion": "1", "deletionTimestamp": "t",
            "finalizers": ["a/b"]}});
        let mut new = old.clone();
        new.set_path(&["metadata", "finalizers"], value!(["a/b", "a/c"]));
        assert_eq!(
            update_faults(&new, &old),
            [
                "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found \
              new finalizers []string{\"a/c\"}"
            ]
        );
    }

    #[test]
    fn identity_cannot_change() {
        let old = value!({"metadata": {"name": "a", "uid": "1", "resourceVersion": "1"}});
        let new = value!({"metadata": {"name": "b", "uid": "2", "resourceVersion": "1"}});
        assert_eq!(
            update_faults(&new, &old),
            [
                "metadata.name: Invalid value: \"b\": field is immutable",
                "metadata.uid: Invalid value: \"2\": field is immutable"
            ]
        );
    }
}
