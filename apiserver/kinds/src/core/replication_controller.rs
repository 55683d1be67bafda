//! core/v1 ReplicationController.

use crate::apps::replicas;
use crate::apps::template::{pairs, validate_always_restarts};
use crate::gates;
use crate::pod_spec::{default_template, template_warnings, validate_template};
use crate::shape::{Body, SCALE, STORED};
use crate::table;
use mainstay_apiserver_machinery::kind::{CollectionPolicy, Column, Kind, Rules, Storage};
use mainstay_apiserver_machinery::validation::{At, ErrorList};
use mainstay_apiserver_machinery::value::Value;
use smol_str::SmolStr;
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
        if let Some(template) = object.path_mut(replicas::TEMPLATE) {
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

    fn collection_policy(&self) -> CollectionPolicy {
        CollectionPolicy::Orphan
    }

    fn columns(&self) -> &'static [Column] {
        replicas::COLUMNS
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        replicas::row(object, table::labels(object.path(&["spec", "selector"])), now)
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        replicas::SELECTABLE_FIELDS
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, SmolStr)> {
        replicas::selectable_fields(object)
    }
}
