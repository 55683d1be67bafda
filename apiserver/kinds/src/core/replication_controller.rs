//! core/v1 ReplicationController.

use crate::apps::WORKLOAD_COLUMNS;
use crate::apps::template::{pairs, validate_always_restarts, validate_available, validate_counts};
use crate::pod_spec::{default_template, validate_template, warnings};
use crate::shape::{Body, SCALE, STORED};
use crate::table;
use mainstay_apiserver_machinery::kind::{CollectionPolicy, Column, Kind, Rules, Storage};
use mainstay_apiserver_machinery::validation::{At, ErrorList};
use mainstay_apiserver_machinery::value::Value;
use smol_str::{SmolStr, format_smolstr};
use time::OffsetDateTime;

/// core/v1 ReplicationController.
pub static REPLICATION_CONTROLLER: Kind = Kind {
    kind: "ReplicationController",
    plural: "replicationcontrollers",
    singular: "replicationcontroller",
    short_names: &["rc"],
    categories: &["all"],
    type_name: "core/v1.ReplicationController",
    list_kind: "ReplicationControllerList",
    subresources: &[SCALE, Body::core("ReplicationController", "core/v1.ReplicationController").status()],
    rules: &ReplicationController,
    storage: Some(Storage::new("controllers")),
    ..STORED
};

const TEMPLATE: &[&str] = &["spec", "template"];

struct ReplicationController;

impl Rules for ReplicationController {
    fn default(&self, object: &mut Value) {
        let labels = object.path(&["spec", "template", "metadata", "labels"]).cloned();
        if let Some(labels) = labels.filter(|labels| !labels.is_empty()) {
            for path in [["spec", "selector"], ["metadata", "labels"]] {
                if object.path(&path).is_none_or(Value::is_empty) {
                    object.set_path(&path, labels.clone());
                }
            }
        }
        object.make_map().get_or_insert_map("spec").get_or_insert("replicas", || 1.into());
        if let Some(template) = object.path_mut(TEMPLATE) {
            default_template(template);
        }
    }

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let spec = At::root(object).get("spec");
        spec.get("minReadySeconds").non_negative(errors);
        let (selector, template) = (spec.get("selector"), spec.get("template"));
        selector.require(errors, "");
        spec.get("replicas").non_negative(errors);
        if !template.is_set() {
            errors.required(&template.path, "");
            return;
        }
        let labels = template.dig(&["metadata", "labels"]);
        let own = pairs(labels.value);
        if pairs(selector.value).iter().any(|(key, value)| own.get(key) != Some(value)) {
            labels.invalid(errors, "`selector` does not match template `labels`");
        }
        validate_template(&template, errors);
        validate_always_restarts(&template.get("spec"), "ReplicationController", errors);
    }

    fn validate_status(&self, new: &Value, _old: &Value, errors: &mut ErrorList) {
        let status = At::root(new).get("status");
        validate_counts(&status, &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"], errors);
        validate_available(&status, "readyReplicas", errors);
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        if old.is_some_and(|old| old.path(TEMPLATE) == new.path(TEMPLATE)) {
            return Vec::new();
        }
        warnings(&At::root(new).dig(&["spec", "template", "spec"]))
    }

    fn tracks_generation(&self) -> bool {
        true
    }

    fn collection_policy(&self) -> CollectionPolicy {
        CollectionPolicy::Orphan
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
            table::labels(object.path(&["spec", "selector"])).into(),
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
