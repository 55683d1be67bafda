//! apps/v1 ControllerRevision: a past state of a workload, which never changes.

use crate::shape::STORED;
use crate::table;
use mainstay_apiserver_machinery::kind::{Column, Kind, Rules, Storage};
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::validation::{At, ErrorList};
use mainstay_apiserver_machinery::value::Value;
use time::OffsetDateTime;

/// apps/v1 ControllerRevision.
pub static CONTROLLER_REVISION: Kind = Kind {
    group: "apps",
    kind: "ControllerRevision",
    plural: "controllerrevisions",
    singular: "controllerrevision",
    type_name: "apps/v1.ControllerRevision",
    list_kind: "ControllerRevisionList",
    rules: &ControllerRevision,
    storage: Some(Storage::new("controllerrevisions")),
    ..STORED
};

struct ControllerRevision;

impl Rules for ControllerRevision {
    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, _new: &mut Value, _old: &Value) {}

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let revision = At::root(object);
        let data = revision.get("data");
        if !data.is_set() {
            errors.required(&data.path, "data is mandatory");
        }
        revision.get("revision").non_negative(errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        self.validate(new, errors);
        At::root(new).get("data").unchanged(errors, &At::root(old).get("data"));
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::object_name(),
            Column::new("Controller", "Whose state it is."),
            Column::new("Revision", "Number of the state, counted up."),
            table::AGE,
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        let controller = Meta(object).controller().map_or_else(
            || String::from("<none>"),
            |owner| match owner.api_version.split_once('/') {
                Some((group, _)) => format!("{}.{group}/{}", owner.kind.to_lowercase(), owner.name),
                None => format!("{}/{}", owner.kind.to_lowercase(), owner.name),
            },
        );
        vec![
            table::name(object),
            controller.into(),
            table::number(object, &["revision"]),
            table::age(object, now),
        ]
    }
}
