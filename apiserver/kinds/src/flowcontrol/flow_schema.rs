//! flowcontrol.apiserver.k8s.io/v1 FlowSchema.

use super::{bootstrap, rules};
use crate::shape::{Body, STORED};
use crate::table;
use mainstay_apiserver_machinery::kind::{Column, Kind, Rules, Storage};
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::pipeline::Target;
use mainstay_apiserver_machinery::validation::{At, ErrorList, names};
use mainstay_apiserver_machinery::value::Value;
use time::OffsetDateTime;

const PRECEDENCE_MAX: i64 = 10_000;

/// flowcontrol.apiserver.k8s.io/v1 FlowSchema.
pub static FLOW_SCHEMA: Kind = Kind {
    group: "flowcontrol.apiserver.k8s.io",
    kind: "FlowSchema",
    plural: "flowschemas",
    singular: "flowschema",
    namespaced: false,
    type_name: "flowcontrol.apiserver.k8s.io/v1.FlowSchema",
    list_kind: "FlowSchemaList",
    subresources: &[Body {
        group: "flowcontrol.apiserver.k8s.io",
        version: "v1",
        kind: "FlowSchema",
        type_name: "flowcontrol.apiserver.k8s.io/v1.FlowSchema",
    }
    .status()],
    rules: &FlowSchema,
    storage: Some(Storage::new("flowschemas")),
    ..STORED
};

struct FlowSchema;

impl Rules for FlowSchema {
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let spec = At::root(object).get("spec");
        let name = Meta(object).name();
        validate_spec(&spec, name, errors);
        if bootstrap::mandatory_spec("FlowSchema", name).is_some_and(|fixed| fixed != *spec.value) {
            spec.invalid(errors, &format!("spec of '{name}' must equal the fixed value"));
        }
        rules::validate_conditions(object, errors);
    }

    fn validate_status(&self, new: &Value, _old: &Value, errors: &mut ErrorList) {
        rules::validate_conditions(new, errors);
    }

    fn tracks_generation(&self) -> bool {
        true
    }

    fn prepare_status(&self, new: &mut Value, old: &Value) {
        rules::prepare_status(new, old);
    }

    fn reset_fields(&self, target: Target<'_>) -> &'static [&'static [&'static str]] {
        rules::reset_fields(target)
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::object_name(),
            Column::new("PriorityLevel", "Which level the requests belong to."),
            Column::new("MatchingPrecedence", "Schemas of lower numbers are asked first."),
            Column::new("DistinguisherMethod", "What sets the flows of the schema apart."),
            table::AGE,
            Column::new("MissingPL", "Whether the level does not exist."),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        let conditions = object.path_list(&["status", "conditions"]);
        let dangling = conditions
            .iter()
            .find(|condition| condition.path_str(&["type"]) == Some("Dangling"))
            .and_then(|condition| condition.path_str(&["status"]));
        vec![
            table::name(object),
            table::text_or(object, &["spec", "priorityLevelConfiguration", "name"], ""),
            table::number(object, &["spec", "matchingPrecedence"]),
            table::text_or(object, &["spec", "distinguisherMethod", "type"], "<none>"),
            table::age(object, now),
            dangling.unwrap_or("?").into(),
        ]
    }
}

fn validate_spec(spec: &At<'_>, name: &str, errors: &mut ErrorList) {
    let precedence = spec.get("matchingPrecedence");
    let value = precedence.int().unwrap_or_default();
    if value <= 0 {
        errors.invalid(&precedence.path, value, "must be a positive value");
    }
    if value > PRECEDENCE_MAX {
        precedence.invalid(errors, &format!("must not be greater than {PRECEDENCE_MAX}"));
    }
    if value == 1 && name != "exempt" {
        precedence.invalid(errors, "only the schema named 'exempt' may have matchingPrecedence 1");
    }
    let method = spec.get("distinguisherMethod");
    if method.is_set() && !matches!(method.text_of("type"), "ByNamespace" | "ByUser") {
        let path = method.path.child("type");
        errors.not_supported(&path, method.value.clone(), &["ByNamespace", "ByUser"]);
    }
    let level = spec.dig(&["priorityLevelConfiguration", "name"]);
    if level.require(errors, "must reference a priority level") {
        level.invalid_each(errors, names::dns_subdomain(level.text()));
    }
    for rule in spec.get("rules").items() {
        rules::validate(&rule, errors);
    }
}
