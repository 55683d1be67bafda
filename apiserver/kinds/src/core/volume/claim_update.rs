//! What an update of a claim may change.

use super::modes::CLASS_ANNOTATION;
use crate::amount::quantity;
use crate::core::pod::list_differences;
use mainstay_apiserver_machinery::kind::restore;
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::validation::{At, ErrorList, FIELD_IS_IMMUTABLE, Path};
use mainstay_apiserver_machinery::value::Value;

const STORAGE: &[&str] = &["resources", "requests", "storage"];

pub(super) fn validate(new: &Value, old: &Value, errors: &mut ErrorList) {
    let (spec, before) = (At::root(new).get("spec"), At::root(old).get("spec"));
    let annotation = |object| Meta(object).annotation(CLASS_ANNOTATION);
    if annotation(new) != annotation(old)
        && spec.get("storageClassName").value == before.get("storageClassName").value
    {
        let path = Path::new("metadata").child("annotations").key(CLASS_ANNOTATION);
        errors.invalid(&path, annotation(new).unwrap_or_default(), FIELD_IS_IMMUTABLE);
    }
    let (new_spec, old_spec) = comparable(new, old);
    if new_spec != old_spec {
        let (mut diff, mut shown) = (String::new(), 0);
        list_differences(&old_spec, &new_spec, "spec", &mut diff, &mut shown);
        errors.forbidden(
            &spec.path,
            &format!(
                "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound \
                 claims\n{diff}"
            ),
        );
    }
    let (size, was) = (spec.dig(STORAGE), before.dig(STORAGE));
    let held = At::root(old).dig(&["status", "capacity", "storage"]);
    if let (Some(now), Some(was)) = (quantity(&size), quantity(&was))
        && now < was
        && now <= quantity(&held).unwrap_or_default()
    {
        errors.forbidden(&size.path, "field can not be less than status.capacity");
    }
    At::new(spec.get("volumeMode").value, Path::new("volumeMode"))
        .unchanged(errors, &before.get("volumeMode"));
    let (class, was) = (spec.get("volumeAttributesClassName"), before.get("volumeAttributesClassName"));
    if was.is_set() && !class.is_set() {
        errors.forbidden(&class.path, "update from non-nil value to nil is forbidden");
    } else if was.is_set() && class.is_empty() && class.value != was.value {
        errors.forbidden(&class.path, "update from non-nil value to an empty string is forbidden");
    }
}

/// Both specs without what this update may change.
fn comparable(new: &Value, old: &Value) -> (Value, Value) {
    let part = |object: &Value| object.get("spec").cloned().unwrap_or(Value::Null);
    let (mut now, mut was) = (part(new), part(old));
    if was.path_str(&["volumeName"]).unwrap_or_default().is_empty() {
        restore(&mut was, &now, "volumeName");
    }
    let class = |spec: &Value| spec.path_str(&["storageClassName"]).map(str::to_owned);
    let annotated = Meta(old).annotation(CLASS_ANNOTATION);
    if class(&was).is_none()
        && class(&now).is_some()
        && annotated.is_none_or(|old| class(&now).as_deref() == Some(old))
    {
        restore(&mut now, &was, "storageClassName");
    }
    let bound = new.path_str(&["status", "phase"]) == Some("Bound");
    if bound && now.path(&["resources", "requests"]).is_some() {
        match was.path(STORAGE) {
            Some(size) => now.set_path(STORAGE, size.clone()),
            None => drop(now.remove_path(STORAGE)),
        }
    }
    if bound && now.get("volumeAttributesClassName").is_some() {
        restore(&mut now, &was, "volumeAttributesClassName");
    }
    (now, was)
}
