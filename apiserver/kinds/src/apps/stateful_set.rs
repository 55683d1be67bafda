//! apps/v1 StatefulSet.

use super::template::{
    pairs, parse, validate_always_restarts, validate_available, validate_collisions, validate_counts,
};
use crate::amount::{int_or_percent, validate_int_or_percent, validate_percent_bound};
use crate::core::volume::validate_claim_spec;
use crate::gates;
use crate::pod_spec::{Subject, default_template, fractions_of, spec_changed, validate_template, warnings};
use crate::shape::{Body, SCALE, STORED};
use crate::table;
use mainstay_apiserver_machinery::kind::{Column, Kind, NameRule, Rules, Storage, restore};
use mainstay_apiserver_machinery::validation::{At, ErrorList, names, validate_label_selector};
use mainstay_apiserver_machinery::value;
use mainstay_apiserver_machinery::value::Value;
use time::OffsetDateTime;

/// apps/v1 StatefulSet.
pub static STATEFUL_SET: Kind = Kind {
    group: "apps",
    kind: "StatefulSet",
    plural: "statefulsets",
    singular: "statefulset",
    short_names: &["sts"],
    categories: &["all"],
    type_name: "apps/v1.StatefulSet",
    list_kind: "StatefulSetList",
    subresources: &[
        SCALE,
        Body { group: "apps", version: "v1", kind: "StatefulSet", type_name: "apps/v1.StatefulSet" }.status(),
    ],
    rules: &StatefulSet,
    storage: Some(Storage::new("statefulsets")),
    ..STORED
};

const TEMPLATE: &[&str] = &["spec", "template"];
/// Fields of the spec that an update may change.
const MUTABLE: &[&str] = &[
    "minReadySeconds",
    "ordinals",
    "persistentVolumeClaimRetentionPolicy",
    "replicas",
    "revisionHistoryLimit",
    "template",
    "updateStrategy",
];

struct StatefulSet;

impl Rules for StatefulSet {
    fn name_rule(&self) -> NameRule {
        NameRule::Label
    }

    fn default(&self, object: &mut Value) {
        let spec = object.make_map().get_or_insert_map("spec");
        let strategy = spec.get_or_insert_map("updateStrategy");
        if strategy.get("type").is_none_or(Value::is_empty) {
            strategy.insert("type", "RollingUpdate");
            strategy.get_or_insert_map("rollingUpdate");
        }
        if strategy.get("type").and_then(Value::as_str) == Some("RollingUpdate")
            && let Some(rolling) = strategy.get_mut("rollingUpdate").and_then(Value::as_map_mut)
        {
            rolling.get_or_insert("partition", || 0.into());
        }
        let retention = spec.get_or_insert_map("persistentVolumeClaimRetentionPolicy");
        for field in ["whenDeleted", "whenScaled"] {
            if retention.get(field).is_none_or(Value::is_empty) {
                retention.insert(field, "Retain");
            }
        }
        if let Some(template) = object.path_mut(TEMPLATE) {
            default_template(template);
        }
    }

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        // An update cannot mend a wrong name, and does not hear of it.
        let service = At::root(object).dig(&["spec", "serviceName"]);
        if !service.is_empty() {
            service.invalid_each(errors, names::dns_label(service.text()));
        }
        validate_spec(object, errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        validate_spec(new, errors);
        let mut spec = new.get("spec").cloned().unwrap_or(Value::Null);
        let before = old.get("spec").cloned().unwrap_or(Value::Null);
        for field in MUTABLE {
            restore(&mut spec, &before, field);
        }
        if spec != before {
            errors.forbidden(
                &At::root(new).get("spec").path,
                "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
                 'minReadySeconds' are forbidden",
            );
        }
    }

    fn validate_status(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        let status = At::root(new).get("status");
        let parts = &["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"];
        let all = &[
            "replicas",
            "readyReplicas",
            "currentReplicas",
            "updatedReplicas",
            "availableReplicas",
            "observedGeneration",
            "collisionCount",
        ];
        validate_counts(&status, all, parts, errors);
        validate_available(&status, "status.readyReplicas", errors);
        validate_collisions(&status, &At::root(old).get("status"), errors);
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let mut out = Vec::new();
        if spec_changed(new, old) {
            warnings(&At::root(new).dig(TEMPLATE), Subject::Template, &mut out);
        }
        let spec = At::root(new).get("spec");
        for claim in spec.get("volumeClaimTemplates").items() {
            let resources = claim.dig(&["spec", "resources"]);
            // Upstream leaves out `spec` in the path on a create, and writes it so on an update.
            let place = if old.is_none() { claim.path } else { claim.path.child("Spec") };
            for list in ["requests", "limits"] {
                let at = At::new(resources.get(list).value, place.child("resources").child(list));
                fractions_of(&at, &["storage"], &mut out);
            }
        }
        let limit = spec.get("revisionHistoryLimit");
        if limit.int().is_some_and(|limit| limit < 0) {
            let what = "a negative value retains all historical revisions; a value >= 0 is recommended";
            out.push(format!("{}: {what}", limit.path));
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
            Column::new("Ready", "Ready pods of wanted pods."),
            table::AGE,
            table::CONTAINERS,
            table::IMAGES,
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
            table::age(object, now),
            names,
            images,
        ]
    }
}

fn validate_spec(object: &Value, errors: &mut ErrorList) {
    let spec = At::root(object).get("spec");
    let policy = spec.get("podManagementPolicy");
    if policy.require(errors, "") && !matches!(policy.text(), "OrderedReady" | "Parallel") {
        policy.invalid(errors, "must be 'OrderedReady' or 'Parallel'");
    }
    validate_strategy(&spec.get("updateStrategy"), errors);
    let retention = spec.get("persistentVolumeClaimRetentionPolicy");
    for field in ["whenDeleted", "whenScaled"] {
        retention.get(field).one_of(errors, &["Retain", "Delete"]);
    }
    for field in ["replicas", "minReadySeconds"] {
        spec.get(field).non_negative(errors);
    }
    spec.dig(&["ordinals", "start"]).non_negative(errors);
    validate_claims(&spec.get("volumeClaimTemplates"), errors);
    validate_selector(&spec, errors);
}

fn validate_strategy(strategy: &At<'_>, errors: &mut ErrorList) {
    let rolling = strategy.get("rollingUpdate");
    match strategy.text_of("type") {
        "" => errors.required(&strategy.path, ""),
        "OnDelete" if rolling.is_set() => {
            rolling.invalid(errors, "only allowed for updateStrategy 'RollingUpdate'");
        }
        "OnDelete" => {}
        "RollingUpdate" => {
            rolling.get("partition").non_negative(errors);
            let unavailable = rolling.get("maxUnavailable");
            if unavailable.is_set() {
                validate_int_or_percent(&unavailable, errors);
                if int_or_percent(&unavailable) == Some(0) {
                    unavailable.invalid(errors, "cannot be 0");
                }
                validate_percent_bound(&unavailable, errors);
            }
        }
        _ => strategy.invalid(errors, "must be 'RollingUpdate' or 'OnDelete'"),
    }
}

fn validate_claims(claims: &At<'_>, errors: &mut ErrorList) {
    for claim in claims.items() {
        validate_claim_spec(&claim.get("spec"), errors);
    }
}

fn validate_selector(spec: &At<'_>, errors: &mut ErrorList) {
    let selector = spec.get("selector");
    if selector.is_set() {
        validate_label_selector(selector.value, true, &selector.path, errors);
        if selector.get("matchLabels").is_empty() && selector.get("matchExpressions").is_empty() {
            selector.invalid(errors, "empty selector is invalid for statefulset");
        }
    } else {
        errors.required(&selector.path, "");
    }
    let template = spec.get("template");
    match parse(selector.value) {
        Some(parsed) => {
            let labels = template.dig(&["metadata", "labels"]);
            if !parsed.is_everything() && !parsed.matches(&pairs(labels.value)) {
                labels.invalid(errors, "`selector` does not match template `labels`");
            }
            let full = with_claims(template.value, &spec.get("volumeClaimTemplates"));
            validate_template(&At::new(&full, template.path.clone()), errors);
        }
        None => selector.invalid(errors, ""),
    }
    validate_always_restarts(&template.get("spec"), "StatefulSet", errors);
}

/// The template as its pods will look: each claim template is a volume that containers may mount.
fn with_claims(template: &Value, claims: &At<'_>) -> Value {
    let mut full = template.clone();
    if let Some(spec) = full.path_mut(&["spec"]).and_then(Value::as_map_mut) {
        let named: Vec<&str> =
            claims.items().filter_map(|claim| claim.value.path_str(&["metadata", "name"])).collect();
        let volumes = spec.get_or_insert_list("volumes");
        volumes.retain(|volume| !volume.path_str(&["name"]).is_some_and(|name| named.contains(&name)));
        volumes.extend(
            named
                .iter()
                .map(|name| value!({"name": (*name), "persistentVolumeClaim": {"claimName": (*name)}})),
        );
    }
    full
}
