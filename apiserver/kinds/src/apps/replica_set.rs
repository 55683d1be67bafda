//! apps/v1 ReplicaSet.

use super::template::{validate_available, validate_counts, validate_selector_and_template};
use crate::pod_spec::{default_template, warnings};
use crate::shape::{Body, SCALE, STORED};
use crate::table;
use mainstay_apiserver_machinery::kind::{Column, Kind, Rules, Storage, restore_except, restore_meta};
use mainstay_apiserver_machinery::validation::{At, ErrorList};
use mainstay_apiserver_machinery::value;
use mainstay_apiserver_machinery::value::Value;
use smol_str::{SmolStr, format_smolstr};
use time::OffsetDateTime;

/// apps/v1 ReplicaSet.
pub static REPLICA_SET: Kind = Kind {
    group: "apps",
    kind: "ReplicaSet",
    plural: "replicasets",
    singular: "replicaset",
    short_names: &["rs"],
    categories: &["all"],
    type_name: "apps/v1.ReplicaSet",
    list_kind: "ReplicaSetList",
    subresources: &[
        SCALE,
        Body { group: "apps", version: "v1", kind: "ReplicaSet", type_name: "apps/v1.ReplicaSet" }.status(),
    ],
    rules: &ReplicaSet,
    storage: Some(Storage::new("replicasets")),
    ..STORED
};

struct ReplicaSet;

impl Rules for ReplicaSet {
    fn default(&self, object: &mut Value) {
        let spec = object.make_map().get_or_insert_map("spec");
        if spec.get("replicas").is_none_or(Value::is_null) {
            spec.insert("replicas", 1);
        }
        if let Some(template) = spec.get_mut("template") {
            default_template(template);
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        object.set_path(&["status"], value!({"replicas": 0}));
    }

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let spec = At::root(object).get("spec");
        spec.get("replicas").non_negative(errors);
        spec.get("minReadySeconds").non_negative(errors);
        validate_selector_and_template(&spec, errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        self.validate(new, errors);
        At::root(new).dig(&["spec", "selector"]).unchanged(errors, &At::root(old).dig(&["spec", "selector"]));
    }

    fn prepare_status(&self, new: &mut Value, old: &Value) {
        restore_except(new, old, &["apiVersion", "kind", "metadata", "status"]);
        restore_meta(new, old, "labels");
    }

    fn validate_status(&self, new: &Value, _old: &Value, errors: &mut ErrorList) {
        let status = At::root(new).get("status");
        validate_counts(&status, &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"], errors);
        validate_available(&status, "readyReplicas", errors);
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        // Warnings about a template come when it changes, not with each new number of replicas.
        let template: &[&str] = &["spec", "template"];
        if old.is_some_and(|old| old.path(template) == new.path(template)) {
            return Vec::new();
        }
        warnings(&At::root(new).dig(&["spec", "template", "spec"]))
    }

    fn tracks_generation(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        WORKLOAD_COLUMNS
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        let containers = object.path_list(&["spec", "template", "spec", "containers"]);
        let [names, images] = table::containers_and_images(containers);
        vec![
            table::name(object),
            table::number(object, &["spec", "replicas"]),
            table::number(object, &["status", "replicas"]),
            table::number(object, &["status", "readyReplicas"]),
            table::age(object, now),
            names,
            images,
            table::label_selector(object.path(&["spec", "selector"])).into(),
        ]
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["status.replicas"]
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, SmolStr)> {
        let replicas = object.path_i64(&["status", "replicas"]).unwrap_or_default();
        vec![("status.replicas", format_smolstr!("{replicas}"))]
    }
}

/// Columns of kinds that keep a number of pods.
pub(crate) const WORKLOAD_COLUMNS: &[Column] = &[
    Column::object_name(),
    Column::new("Desired", "Pods that are wanted.").of_type("integer"),
    Column::new("Current", "Pods that exist.").of_type("integer"),
    Column::new("Ready", "Pods that are ready.").of_type("integer"),
    Column::new("Age", "Time since the object was created."),
    Column::new("Containers", "Names of the containers.").wide(),
    Column::new("Images", "Images of the containers.").wide(),
    Column::new("Selector", "Which pods belong to the object.").wide(),
];
