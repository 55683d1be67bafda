//! core/v1 PersistentVolumeClaim.

use super::modes::{CLASS_ANNOTATION, short_modes};
use super::{claim_update, validate_claim_spec};
use crate::amount::{quantity, validate_basic_quantity};
use crate::deprecated::{STORAGE_CLASS_FIELD, annotation};
use crate::gates;
use crate::pod_spec::fractions_of;
use crate::shape::{Body, STORED};
use crate::table;
use mainstay_apiserver_machinery::kind::{Column, Kind, Rules, Storage, restore};
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::validation::{At, ErrorList, names};
use mainstay_apiserver_machinery::value;
use mainstay_apiserver_machinery::value::{Map, Value};
use time::OffsetDateTime;

/// core/v1 PersistentVolumeClaim.
pub static PERSISTENT_VOLUME_CLAIM: Kind = Kind {
    kind: "PersistentVolumeClaim",
    plural: "persistentvolumeclaims",
    singular: "persistentvolumeclaim",
    short_names: &["pvc"],
    type_name: "core/v1.PersistentVolumeClaim",
    list_kind: "PersistentVolumeClaimList",
    subresources: &[Body::core("PersistentVolumeClaim", "core/v1.PersistentVolumeClaim").status()],
    rules: &PersistentVolumeClaim,
    storage: Some(Storage::new("persistentvolumeclaims")),
    ..STORED
};

const RESIZE_STATES: &[&str] = &[
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizePending",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
];

struct PersistentVolumeClaim;

impl Rules for PersistentVolumeClaim {
    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        let mut out = Vec::new();
        annotation(new, CLASS_ANNOTATION, STORAGE_CLASS_FIELD, &mut out);
        let resources = At::root(new).dig(&["spec", "resources"]);
        for list in ["requests", "limits"] {
            fractions_of(&resources.get(list), &["storage"], &mut out);
        }
        out
    }

    fn drop_gated(&self, new: &mut Value, old: Option<&Value>) {
        // Of the feature `CSIVolumeHealth`.
        gates::drop_fields(new, old, &[&["status", "healthStatus"]]);
    }

    fn prepare_create(&self, object: &mut Value) {
        object.set_path(&["status"], value!({"phase": "Pending"}));
        let spec = object.make_map().get_or_insert_map("spec");
        drop_foreign_source(spec);
        align_sources(spec);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        restore(new, old, "status");
        let spec = new.make_map().get_or_insert_map("spec");
        if old.path(&["spec", "dataSource"]).is_none() {
            drop_foreign_source(spec);
        }
        align_sources(spec);
    }

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        validate_claim_spec(&At::root(object).get("spec"), errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        self.validate(new, errors);
        claim_update::validate(new, old, errors);
    }

    fn validate_status(&self, new: &Value, _old: &Value, errors: &mut ErrorList) {
        let status = At::root(new).get("status");
        for (_, amount) in status.get("capacity").entries() {
            validate_basic_quantity(&amount, errors);
        }
        let resizing = status.get("allocatedResourceStatuses");
        // Upstream's name of the field in its texts.
        let path = status.path.child("allocatedResourceStatus");
        for (name, state) in resizing.entries() {
            validate_resource(&At::new(&Value::from(name), path.clone()), errors);
            if !RESIZE_STATES.contains(&state.text()) {
                errors.not_supported(&path, name, RESIZE_STATES);
            }
        }
        let allocated = status.get("allocatedResources");
        for (name, amount) in allocated.entries() {
            validate_resource(&At::new(&Value::from(name), allocated.path.clone()), errors);
            validate_basic_quantity(&amount, errors);
            if quantity(&amount).is_some_and(|amount| !amount.is_whole()) {
                amount.invalid(errors, "must be an integer");
            }
        }
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::object_name(),
            Column::new("Status", "Whether the claim has a volume."),
            Column::new("Volume", "The volume that the claim has."),
            Column::new("Capacity", "Size of the volume."),
            Column::new("Access Modes", "How nodes may mount the volume."),
            Column::new("StorageClass", "Class of the volume that is wanted."),
            Column::new("VolumeAttributesClass", "Class of the volume's changeable attributes."),
            table::AGE,
            Column::new("VolumeMode", "Whether a file system or a device is wanted.").wide(),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        let text = |path: &[&str]| table::text_or(object, path, "");
        let meta = Meta(object);
        let bound = !object.path_str(&["spec", "volumeName"]).unwrap_or_default().is_empty();
        let (capacity, modes) = if bound {
            (
                table::text_or(object, &["status", "capacity", "storage"], "0"),
                short_modes(object.path_list(&["status", "accessModes"])),
            )
        } else {
            (Value::from(""), String::new())
        };
        let class = meta
            .annotation(CLASS_ANNOTATION)
            .map_or_else(|| text(&["spec", "storageClassName"]), Value::from);
        vec![
            table::name(object),
            if meta.is_deleting() { "Terminating".into() } else { text(&["status", "phase"]) },
            text(&["spec", "volumeName"]),
            capacity,
            modes.into(),
            class,
            table::text_or(object, &["spec", "volumeAttributesClassName"], "<unset>"),
            table::age(object, now),
            table::text_or(object, &["spec", "volumeMode"], "<unset>"),
        ]
    }
}

/// The older of the two source fields only ever meant claims and snapshots; what else stands there is dropped.
fn drop_foreign_source(spec: &mut Map) {
    let Some(source) = spec.get("dataSource") else { return };
    let text = |field: &str| source.path_str(&[field]).unwrap_or_default();
    let known = match text("kind") {
        "PersistentVolumeClaim" => text("apiGroup").is_empty(),
        "VolumeSnapshot" => text("apiGroup") == "snapshot.storage.k8s.io",
        _ => false,
    };
    if !known {
        spec.remove("dataSource");
    }
}

/// Gives both source fields the value of the one that is set.
fn align_sources(spec: &mut Map) {
    let copied = |source: &Value| -> Value {
        let fields = ["apiGroup", "kind", "name"].iter();
        Value::Map(fields.filter_map(|field| Some((*field, source.get(field)?.clone()))).collect())
    };
    match (spec.get("dataSource").map(copied), spec.get("dataSourceRef")) {
        (Some(source), None) => drop(spec.insert("dataSourceRef", source)),
        (None, Some(reference)) if reference.path_str(&["namespace"]).unwrap_or_default().is_empty() => {
            let source = copied(reference);
            spec.insert("dataSource", source);
        }
        _ => {}
    }
}

fn validate_resource(name: &At<'_>, errors: &mut ErrorList) {
    let faults = names::qualified_name(name.text());
    if !faults.is_empty() {
        name.invalid_each(errors, faults);
        return;
    }
    let native = !name.text().contains('/') || name.text().contains("kubernetes.io/");
    if native && name.text() != "storage" {
        errors.not_supported(&name.path, name.text(), &["storage"]);
    }
}
