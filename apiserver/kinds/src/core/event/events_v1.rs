//! events.k8s.io/v1 Event: the same objects under newer names, and strict about what new events carry.

use super::{core_v1, row};
use crate::shape::STORED;
use mainstay_apiserver_machinery::kind::{CollectionPolicy, Column, Kind, Rules, Storage};
use mainstay_apiserver_machinery::validation::{At, ErrorList};
use mainstay_apiserver_machinery::value::Value;
use smol_str::SmolStr;
use time::OffsetDateTime;

/// events.k8s.io/v1 Event.
pub static EVENTS_EVENT: Kind = Kind {
    group: "events.k8s.io",
    kind: "Event",
    plural: "events",
    singular: "event",
    short_names: &["ev"],
    type_name: "events.k8s.io/v1.Event",
    list_kind: "EventList",
    rules: &Event,
    storage: Some(Storage { prefix: "events", stored_as: Some(&super::EVENT) }),
    ..STORED
};

/// Names of the same field in events.k8s.io/v1 and in core/v1.
const RENAMED: &[(&str, &str)] = &[
    ("deprecatedCount", "count"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedSource", "source"),
    ("note", "message"),
    ("regarding", "involvedObject"),
    ("reportingController", "reportingComponent"),
];

const FIELDS: &[&str] = &[
    "reason",
    "regarding.apiVersion",
    "regarding.fieldPath",
    "regarding.kind",
    "regarding.name",
    "regarding.namespace",
    "regarding.resourceVersion",
    "regarding.uid",
    "reportingController",
    "source",
    "type",
];

/// Fields that an update may not change; the series and the metadata may.
const IMMUTABLE: &[&str] = &[
    "involvedObject",
    "reason",
    "message",
    "source",
    "firstTimestamp",
    "lastTimestamp",
    "count",
    "type",
    "eventTime",
    "action",
    "related",
    "reportingComponent",
    "reportingInstance",
];

struct Event;

fn stored_form(object: &Value) -> Value {
    let mut stored = object.clone();
    Event.to_storage(&mut stored);
    stored
}

impl Rules for Event {
    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, _new: &mut Value, _old: &Value) {}

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let stored = stored_form(object);
        core_v1::validate_any(&stored, "reportingController", errors);
        let event = At::root(&stored);
        event.get("eventTime").require(errors, "");
        let kind = event.get("type");
        if !matches!(kind.text(), "Normal" | "Warning") {
            errors.invalid(&kind.path, "", &format!("has invalid value: {}", kind.text()));
        }
        let unset = |field: &str, set: bool, errors: &mut ErrorList| {
            if set {
                errors.invalid(&event.path.child(field), "", "needs to be unset");
            }
        };
        unset("firstTimestamp", !event.get("firstTimestamp").is_empty(), errors);
        unset("lastTimestamp", !event.get("lastTimestamp").is_empty(), errors);
        unset("count", event.get("count").int().unwrap_or_default() != 0, errors);
        let source = event.get("source");
        unset(
            "source",
            !source.text_of("component").is_empty() || !source.text_of("host").is_empty(),
            errors,
        );
    }

    fn validate_update(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        let (new, old) = (stored_form(new), stored_form(old));
        core_v1::validate_any(&new, "reportingController", errors);
        let (event, before) = (At::root(&new), At::root(&old));
        for field in IMMUTABLE {
            event.get(field).unchanged(errors, &before.get(field));
        }
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
        row::row(&stored_form(object), now)
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        FIELDS
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, SmolStr)> {
        let text = |path: &[&str]| object.path_str(path).unwrap_or_default();
        let value = |field: &str| match field.split_once('.') {
            Some((outer, inner)) => text(&[outer, inner]),
            None if field == "source" => match text(&["deprecatedSource", "component"]) {
                "" => text(&["reportingController"]),
                component => component,
            },
            None => text(&[field]),
        };
        FIELDS.iter().map(|field| (*field, value(field).into())).collect()
    }

    fn from_storage(&self, object: &mut Value) {
        rename(object, "events.k8s.io/v1", RENAMED.iter().map(|(new, old)| (*old, *new)));
    }

    fn to_storage(&self, object: &mut Value) {
        rename(object, "v1", RENAMED.iter().copied());
    }
}

fn rename(object: &mut Value, api_version: &str, names: impl Iterator<Item = (&'static str, &'static str)>) {
    let map = object.make_map();
    for (from, to) in names {
        if let Some(value) = map.remove(from) {
            map.insert(to, value);
        }
    }
    map.insert("apiVersion", api_version);
}
