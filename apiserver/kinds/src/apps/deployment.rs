//! apps/v1 Deployment.

use super::template::{validate_available, validate_counts, validate_selector_and_template};
use crate::amount::{int_or_percent, validate_int_or_percent, validate_percent_bound};
use crate::gates;
use crate::pod_spec::{default_template, template_warnings};
use crate::shape::{Body, SCALE, STORED};
use crate::table;
use mainstay_apiserver_machinery::kind::{Column, Kind, Rules, Storage, restore_except, restore_meta};
use mainstay_apiserver_machinery::validation::{At, ErrorList};
use mainstay_apiserver_machinery::value;
use mainstay_apiserver_machinery::value::Value;
use time::OffsetDateTime;

/// apps/v1 Deployment.
pub static DEPLOYMENT: Kind = Kind {
    group: "apps",
    kind: "Deployment",
    plural: "deployments",
    singular: "deployment",
    short_names: &["deploy"],
    categories: &["all"],
    type_name: "apps/v1.Deployment",
    list_kind: "DeploymentList",
    subresources: &[
        SCALE,
        Body { group: "apps", version: "v1", kind: "Deployment", type_name: "apps/v1.Deployment" }.status(),
    ],
    rules: &Deployment,
    storage: Some(Storage::new("deployments")),
    ..STORED
};

struct Deployment;

impl Rules for Deployment {
    fn default(&self, object: &mut Value) {
        let spec = object.make_map().get_or_insert_map("spec");
        for (field, value) in
            [("replicas", 1), ("revisionHistoryLimit", 10), ("progressDeadlineSeconds", 600)]
        {
            if spec.get(field).is_none_or(Value::is_null) {
                spec.insert(field, value);
            }
        }
        let strategy = spec.get_or_insert_map("strategy");
        if strategy.get("type").is_none_or(Value::is_empty) {
            strategy.insert("type", "RollingUpdate");
        }
        if strategy.get("type").and_then(Value::as_str) == Some("RollingUpdate") {
            let rolling = strategy.get_or_insert_map("rollingUpdate");
            for field in ["maxUnavailable", "maxSurge"] {
                if rolling.get(field).is_none_or(Value::is_null) {
                    rolling.insert(field, "25%");
                }
            }
        }
        if let Some(template) = object.path_mut(&["spec", "template"]) {
            default_template(template);
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        object.set_path(&["status"], value!({}));
    }

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let spec = At::root(object).get("spec");
        spec.get("replicas").non_negative(errors);
        validate_selector_and_template(&spec, errors);
        validate_strategy(&spec.get("strategy"), errors);
        for field in ["minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"] {
            spec.get(field).non_negative(errors);
        }
        let deadline = spec.get("progressDeadlineSeconds");
        let ready = spec.get("minReadySeconds").int().unwrap_or_default();
        if deadline.int().is_some_and(|seconds| seconds <= ready) {
            deadline.invalid(errors, "must be greater than minReadySeconds");
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        self.validate(new, errors);
        At::root(new).dig(&["spec", "selector"]).unchanged(errors, &At::root(old).dig(&["spec", "selector"]));
    }

    fn prepare_status(&self, new: &mut Value, old: &Value) {
        restore_except(new, old, &["apiVersion", "kind", "metadata", "status"]);
        restore_meta(new, old, "labels");
    }

    fn validate_status(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        let (status, before) = (At::root(new).get("status"), At::root(old).get("status"));
        let parts = &["updatedReplicas", "readyReplicas", "availableReplicas"];
        let all = &[
            "observedGeneration",
            "replicas",
            "updatedReplicas",
            "readyReplicas",
            "availableReplicas",
            "unavailableReplicas",
            "terminatingReplicas",
            "collisionCount",
        ];
        validate_counts(&status, all, parts, errors);
        validate_available(&status, "readyReplicas", errors);
        let count = status.get("collisionCount");
        let was = before.get("collisionCount").int();
        if was.is_some_and(|was| count.int().is_none_or(|now| now < was)) {
            count.invalid(errors, "cannot be decremented");
        }
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        template_warnings(new, old, &["spec", "template"])
    }

    fn drop_gated(&self, new: &mut Value, old: Option<&Value>) {
        gates::drop_in_pod(new, old, &["spec", "template", "spec"]);
    }

    fn tracks_generation(&self) -> bool {
        true
    }

    fn generation_changed(&self, new: &Value, old: &Value) -> bool {
        let annotations: &[&str] = &["metadata", "annotations"];
        new.get("spec") != old.get("spec") || new.path(annotations) != old.path(annotations)
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::object_name(),
            Column::new("Ready", "Ready pods of wanted pods."),
            Column::new("Up-to-date", "Pods made from the current template."),
            Column::new("Available", "Pods ready for at least the wanted time."),
            Column::new("Age", "Time since the object was created."),
            Column::new("Containers", "Names of the containers.").wide(),
            Column::new("Images", "Images of the containers.").wide(),
            Column::new("Selector", "Which pods belong to the deployment.").wide(),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        let number = |path: &[&str]| object.path_i64(path).unwrap_or_default();
        let containers = object.path_list(&["spec", "template", "spec", "containers"]);
        let [names, images] = table::containers_and_images(containers);
        vec![
            table::name(object),
            format!("{}/{}", number(&["status", "readyReplicas"]), number(&["spec", "replicas"])).into(),
            table::number(object, &["status", "updatedReplicas"]),
            table::number(object, &["status", "availableReplicas"]),
            table::age(object, now),
            names,
            images,
            table::label_selector(object.path(&["spec", "selector"])).into(),
        ]
    }
}

fn validate_strategy(strategy: &At<'_>, errors: &mut ErrorList) {
    let rolling = strategy.get("rollingUpdate");
    match strategy.text_of("type") {
        "Recreate" if rolling.is_set() => {
            errors.forbidden(&rolling.path, "may not be specified when strategy `type` is 'Recreate'");
        }
        "Recreate" => {}
        "RollingUpdate" => {
            let (unavailable, surge) = (rolling.get("maxUnavailable"), rolling.get("maxSurge"));
            for field in [&unavailable, &surge] {
                validate_int_or_percent(field, errors);
            }
            if int_or_percent(&unavailable) == Some(0) && int_or_percent(&surge) == Some(0) {
                unavailable.invalid(errors, "may not be 0 when `maxSurge` is 0");
            }
            for field in [&unavailable, &surge] {
                validate_percent_bound(field, errors);
            }
        }
        _ => errors.not_supported(&strategy.path, strategy.value.clone(), &["Recreate", "RollingUpdate"]),
    }
}
