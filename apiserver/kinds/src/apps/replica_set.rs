//! apps/v1 ReplicaSet.

use super::replicas;
use super::template::validate_selector_and_template;
use crate::gates;
use crate::pod_spec::{default_template, template_warnings};
use crate::shape::{Body, SCALE, STORED};
use crate::table;
use mainstay_apiserver_machinery::kind::{Column, Kind, Rules, Storage, restore_except, restore_meta};
use mainstay_apiserver_machinery::validation::{At, ErrorList};
use mainstay_apiserver_machinery::value;
use mainstay_apiserver_machinery::value::Value;
use smol_str::SmolStr;
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
        replicas::validate_status(new, errors);
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        template_warnings(new, old, replicas::TEMPLATE)
    }

    fn drop_gated(&self, new: &mut Value, old: Option<&Value>) {
        gates::drop_in_pod(new, old, &["spec", "template", "spec"]);
    }

    fn tracks_generation(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        replicas::COLUMNS
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        replicas::row(object, table::label_selector(object.path(&["spec", "selector"])), now)
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        replicas::SELECTABLE_FIELDS
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, SmolStr)> {
        replicas::selectable_fields(object)
    }
}
