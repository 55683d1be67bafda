//! resource.k8s.io/v1 ResourceClaim and ResourceClaimTemplate.

use super::{claim_spec, claim_status};
use crate::shape::{Body, STORED};
use crate::status_update::restore_all_but_status;
use crate::table;
use mainstay_apiserver_machinery::kind::{Column, Kind, Rules, Storage};
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::validation::{At, ErrorList, validate_annotations, validate_labels};
use mainstay_apiserver_machinery::value::Value;
use time::OffsetDateTime;

/// resource.k8s.io/v1 ResourceClaim.
pub static RESOURCE_CLAIM: Kind = Kind {
    group: "resource.k8s.io",
    kind: "ResourceClaim",
    plural: "resourceclaims",
    singular: "resourceclaim",
    type_name: "resource.k8s.io/v1.ResourceClaim",
    list_kind: "ResourceClaimList",
    subresources: &[Body {
        group: "resource.k8s.io",
        version: "v1",
        kind: "ResourceClaim",
        type_name: "resource.k8s.io/v1.ResourceClaim",
    }
    .status()],
    rules: &ResourceClaim,
    storage: Some(Storage::new("resourceclaims")),
    ..STORED
};

/// resource.k8s.io/v1 ResourceClaimTemplate.
pub static RESOURCE_CLAIM_TEMPLATE: Kind = Kind {
    group: "resource.k8s.io",
    kind: "ResourceClaimTemplate",
    plural: "resourceclaimtemplates",
    singular: "resourceclaimtemplate",
    type_name: "resource.k8s.io/v1.ResourceClaimTemplate",
    list_kind: "ResourceClaimTemplateList",
    rules: &ResourceClaimTemplate,
    storage: Some(Storage::new("resourceclaimtemplates")),
    ..STORED
};

struct ResourceClaim;

/// An exact count that is not given is one.
fn default_counts(devices: Option<&mut Value>) {
    let requests = devices.and_then(|devices| devices.get_mut("requests")).and_then(Value::as_list_mut);
    for request in requests.into_iter().flatten() {
        if let Some(exactly) = request.get_mut("exactly") {
            default_count(exactly);
        }
        let parts = request.get_mut("firstAvailable").and_then(Value::as_list_mut);
        parts.into_iter().flatten().for_each(default_count);
    }
}

fn default_count(wanted: &mut Value) {
    let exact = wanted.path_str(&["allocationMode"]) == Some("ExactCount");
    if exact && wanted.path_i64(&["count"]).unwrap_or_default() == 0 && wanted.as_map().is_some() {
        wanted.set_path(&["count"], 1);
    }
}

impl Rules for ResourceClaim {
    fn default(&self, object: &mut Value) {
        default_counts(object.path_mut(&["spec", "devices"]));
    }

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        claim_spec::validate(&At::root(object).get("spec"), errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        At::root(new).get("spec").unchanged(errors, &At::root(old).get("spec"));
    }

    fn prepare_status(&self, new: &mut Value, old: &Value) {
        restore_all_but_status(new, old);
    }

    fn validate_status(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        claim_status::validate(new, old, errors);
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] =
            &[Column::object_name(), Column::new("State", "What became of the claim."), table::AGE];
        COLUMNS
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        let allocated = object.path(&["status", "allocation"]).is_some();
        let mut states = Vec::new();
        if Meta(object).is_deleting() {
            states.push("deleted");
        }
        if allocated {
            states.push("allocated");
            if !object.path_list(&["status", "reservedFor"]).is_empty() {
                states.push("reserved");
            }
        } else {
            states.push("pending");
        }
        vec![table::name(object), states.join(",").into(), table::age(object, now)]
    }
}

struct ResourceClaimTemplate;

impl Rules for ResourceClaimTemplate {
    fn default(&self, object: &mut Value) {
        default_counts(object.path_mut(&["spec", "spec", "devices"]));
    }

    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, _new: &mut Value, _old: &Value) {}

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let spec = At::root(object).get("spec");
        let meta = spec.get("metadata");
        let (labels, annotations) = (meta.get("labels"), meta.get("annotations"));
        validate_annotations(annotations.map(), &annotations.path, errors);
        validate_labels(labels.map(), &labels.path, errors);
        for (field, _) in meta.entries().filter(|(field, _)| !matches!(*field, "labels" | "annotations")) {
            errors.forbidden(&meta.path.child(field), "cannot be set");
        }
        claim_spec::validate(&spec.get("spec"), errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        At::root(new).get("spec").unchanged(errors, &At::root(old).get("spec"));
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[Column::object_name(), table::AGE];
        COLUMNS
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        vec![table::name(object), table::age(object, now)]
    }
}
