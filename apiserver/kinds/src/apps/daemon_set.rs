//! apps/v1 DaemonSet.

use super::template::{pairs, parse, validate_always_restarts, validate_collisions};
use crate::amount::{int_or_percent, validate_int_or_percent, validate_percent_bound};
use crate::gates;
use crate::pod_spec::{Subject, default_template, spec_changed, validate_template, warnings};
use crate::shape::{Body, STORED};
use crate::table;
use mainstay_apiserver_machinery::kind::{Column, Kind, Rules, Storage, restore};
use mainstay_apiserver_machinery::validation::{At, ErrorList, validate_label_selector};
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::label::Selector;
use time::OffsetDateTime;

/// apps/v1 DaemonSet.
pub static DAEMON_SET: Kind = Kind {
    group: "apps",
    kind: "DaemonSet",
    plural: "daemonsets",
    singular: "daemonset",
    short_names: &["ds"],
    categories: &["all"],
    type_name: "apps/v1.DaemonSet",
    list_kind: "DaemonSetList",
    subresources: &[
        Body { group: "apps", version: "v1", kind: "DaemonSet", type_name: "apps/v1.DaemonSet" }.status()
    ],
    rules: &DaemonSet,
    storage: Some(Storage::new("daemonsets")),
    ..STORED
};

/// Where upstream's older API kept the generation of the template; apps/v1 shows it as an annotation.
const TEMPLATE_GENERATION: &[&str] = &["metadata", "annotations", "deprecated.daemonset.template.generation"];
const TEMPLATE: &[&str] = &["spec", "template"];

struct DaemonSet;

fn template_generation(object: &Value) -> i64 {
    object.path_str(TEMPLATE_GENERATION).and_then(|text| text.parse().ok()).unwrap_or_default()
}

impl Rules for DaemonSet {
    fn default(&self, object: &mut Value) {
        if let Some(strategy) = object.path_mut(&["spec", "updateStrategy"]).and_then(Value::as_map_mut)
            && strategy.get("type").and_then(Value::as_str) == Some("RollingUpdate")
        {
            let rolling = strategy.get_or_insert_map("rollingUpdate");
            for (field, value) in [("maxSurge", 0), ("maxUnavailable", 1)] {
                rolling.get_or_insert(field, || value.into());
            }
        }
        if let Some(template) = object.path_mut(TEMPLATE) {
            default_template(template);
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        object.make_map().remove("status");
        object.set_path(TEMPLATE_GENERATION, template_generation(object).max(1).to_string());
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        restore(new, old, "status");
        let changed = i64::from(new.path(TEMPLATE) != old.path(TEMPLATE));
        new.set_path(TEMPLATE_GENERATION, template_generation(old).saturating_add(changed).to_string());
    }

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let spec = At::root(object).get("spec");
        let (selector, template) = (spec.get("selector"), spec.get("template"));
        validate_label_selector(selector.value, true, &selector.path, errors);
        let labels = template.dig(&["metadata", "labels"]);
        // Unlike elsewhere a selector that is absent selects nothing here, so no template fits it.
        let fits = |parsed: Selector| selector.is_set() && parsed.matches(&pairs(labels.value));
        if parse(selector.value).is_some_and(|parsed| !fits(parsed)) {
            labels.invalid(errors, "`selector` does not match template `labels`");
        }
        if selector.is_set()
            && selector.get("matchLabels").is_empty()
            && selector.get("matchExpressions").is_empty()
        {
            selector.invalid(errors, "empty selector is invalid for daemonset");
        }
        validate_template(&template, errors);
        validate_always_restarts(&template.get("spec"), "DaemonSet", errors);
        spec.get("minReadySeconds").non_negative(errors);
        validate_strategy(&spec.get("updateStrategy"), errors);
        spec.get("revisionHistoryLimit").non_negative(errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        self.validate(new, errors);
        At::root(new).dig(&["spec", "selector"]).unchanged(errors, &At::root(old).dig(&["spec", "selector"]));
    }

    fn validate_status(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        let status = At::root(new).get("status");
        for field in [
            "currentNumberScheduled",
            "numberMisscheduled",
            "desiredNumberScheduled",
            "numberReady",
            "observedGeneration",
            "updatedNumberScheduled",
            "numberAvailable",
            "numberUnavailable",
            "collisionCount",
        ] {
            status.get(field).non_negative(errors);
        }
        validate_collisions(&status, &At::root(old).get("status"), errors);
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let mut out = Vec::new();
        if spec_changed(new, old) {
            warnings(&At::root(new).dig(TEMPLATE), Subject::Template, &mut out);
        }
        out
    }

    fn drop_gated(&self, new: &mut Value, old: Option<&Value>) {
        gates::drop_in_pod(new, old, &["spec", "template", "spec"]);
    }

    fn tracks_generation(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::object_name(),
            Column::new("Desired", "Nodes that shall run the pod.").of_type("integer"),
            Column::new("Current", "Nodes that run the pod and shall.").of_type("integer"),
            Column::new("Ready", "Nodes whose pod is ready.").of_type("integer"),
            Column::new("Up-to-date", "Nodes whose pod is from the current template.").of_type("integer"),
            Column::new("Available", "Nodes whose pod is ready for at least the wanted time.")
                .of_type("integer"),
            Column::new("Node Selector", "Labels of the nodes that shall run the pod."),
            table::AGE,
            table::CONTAINERS,
            table::IMAGES,
            Column::new("Selector", "Which pods belong to the set.").wide(),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        let status = |field: &str| table::number(object, &["status", field]);
        let containers = object.path_list(&["spec", "template", "spec", "containers"]);
        let [names, images] = table::containers_and_images(containers);
        vec![
            table::name(object),
            status("desiredNumberScheduled"),
            status("currentNumberScheduled"),
            status("numberReady"),
            status("updatedNumberScheduled"),
            status("numberAvailable"),
            table::labels(object.path(&["spec", "template", "spec", "nodeSelector"])).into(),
            table::age(object, now),
            names,
            images,
            table::label_selector(object.path(&["spec", "selector"])).into(),
        ]
    }
}

fn validate_strategy(strategy: &At<'_>, errors: &mut ErrorList) {
    match strategy.text_of("type") {
        "OnDelete" => {}
        "RollingUpdate" => {
            let rolling = strategy.get("rollingUpdate");
            if !rolling.is_set() {
                errors.required(&rolling.path, "");
                return;
            }
            let (unavailable, surge) = (rolling.get("maxUnavailable"), rolling.get("maxSurge"));
            for check in [validate_int_or_percent, validate_percent_bound] {
                check(&unavailable, errors);
                check(&surge, errors);
            }
            let given = |field: &At<'_>| int_or_percent(field).unwrap_or_default() != 0;
            if given(&unavailable) && given(&surge) {
                surge.invalid(errors, "may not be set when maxUnavailable is non-zero");
            } else if !given(&unavailable) && !given(&surge) {
                errors.required(&unavailable.path, "cannot be 0 when maxSurge is 0");
            }
        }
        _ => errors.not_supported(&strategy.path, strategy.value.clone(), &["RollingUpdate", "OnDelete"]),
    }
}
