//! core/v1 Event.

use super::row;
use crate::shape::STORED;
use mainstay_apiserver_machinery::kind::{CollectionPolicy, Column, Kind, Rules, Storage};
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::validation::{At, ErrorList, names};
use mainstay_apiserver_machinery::value::Value;
use smol_str::SmolStr;
use time::OffsetDateTime;

/// Bytes of `reportingInstance`, `action` and `reason`.
const WORD_BYTES_MAX: usize = 128;
/// Bytes of the message.
const MESSAGE_BYTES_MAX: usize = 1024;

/// core/v1 Event.
pub static EVENT: Kind = Kind {
    kind: "Event",
    plural: "events",
    singular: "event",
    short_names: &["ev"],
    type_name: "core/v1.Event",
    list_kind: "EventList",
    rules: &Event,
    storage: Some(Storage::new("events")),
    ..STORED
};

struct Event;

const FIELDS: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];

impl Rules for Event {
    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, _new: &mut Value, _old: &Value) {}

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        validate_any(object, "reportingComponent", errors);
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn collection_policy(&self) -> CollectionPolicy {
        CollectionPolicy::Unsupported
    }

    fn columns(&self) -> &'static [Column] {
        row::COLUMNS
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        row::row(object, now)
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        FIELDS
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, SmolStr)> {
        FIELDS.iter().map(|field| (*field, field_of(object, field))).collect()
    }
}

fn field_of(event: &Value, field: &str) -> SmolStr {
    let text = |path: &[&str]| event.path_str(path).unwrap_or_default();
    let value = match field.split_once('.') {
        Some((outer, inner)) => text(&[outer, inner]),
        None if field == "source" => match text(&["source", "component"]) {
            "" => text(&["reportingComponent"]),
            component => component,
        },
        None => text(&[field]),
    };
    value.into()
}

/// Checks what holds for events of both versions. `controller` is the version's name for the reporting controller.
pub(super) fn validate_any(object: &Value, controller: &str, errors: &mut ErrorList) {
    let event = At::root(object);
    let namespace = Meta(object).namespace();
    let involved = event.dig(&["involvedObject", "namespace"]);
    let matches = match involved.text() {
        "" => matches!(namespace, "" | "default"),
        other => other == namespace,
    };
    if !matches {
        errors.invalid(&involved.path, involved.text(), "does not match event.namespace");
    }
    if event.get("eventTime").is_empty() {
        return;
    }
    let reporting = event.get("reportingComponent");
    let path = event.path.child(controller);
    if reporting.is_empty() {
        errors.required(&path, "");
    }
    errors.invalid_each(&path, reporting.text(), names::qualified_name(reporting.text()));
    for field in ["reportingInstance", "action", "reason"] {
        let word = event.get(field);
        if word.require(errors, "") && word.text().len() > WORD_BYTES_MAX {
            errors.invalid(&word.path, "", &format!("can have at most {WORD_BYTES_MAX} characters"));
        }
    }
    let message = event.get("message");
    if message.text().len() > MESSAGE_BYTES_MAX {
        errors.invalid(&message.path, "", &format!("can have at most {MESSAGE_BYTES_MAX} characters"));
    }
}
