//! storagemigration.k8s.io/v1 StorageVersionMigration: a wish to write all objects of a resource anew.

use crate::formats::validate_conditions;
use crate::shape::{Body, STORED};
use crate::status_update::restore_all_but_status;
use crate::table;
use mainstay_apiserver_machinery::kind::{Column, Kind, Rules, Storage};
use mainstay_apiserver_machinery::validation::{At, ErrorList, names};
use mainstay_apiserver_machinery::value::Value;
use time::OffsetDateTime;

/// storagemigration.k8s.io/v1 StorageVersionMigration.
pub static STORAGE_VERSION_MIGRATION: Kind = Kind {
    group: "storagemigration.k8s.io",
    kind: "StorageVersionMigration",
    plural: "storageversionmigrations",
    singular: "storageversionmigration",
    namespaced: false,
    type_name: "storagemigration.k8s.io/v1.StorageVersionMigration",
    list_kind: "StorageVersionMigrationList",
    subresources: &[Body {
        group: "storagemigration.k8s.io",
        version: "v1",
        kind: "StorageVersionMigration",
        type_name: "storagemigration.k8s.io/v1.StorageVersionMigration",
    }
    .status()],
    rules: &StorageVersionMigration,
    storage: Some(Storage::new("storageversionmigrations")),
    ..STORED
};

struct StorageVersionMigration;

impl Rules for StorageVersionMigration {
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let resource = At::root(object).dig(&["spec", "resource"]);
        let (group, name) = (resource.get("group"), resource.get("resource"));
        if !group.is_empty() {
            group.invalid_each(errors, names::dns_subdomain(group.text()));
        }
        if name.require(errors, "") {
            name.invalid_each(errors, names::dns_label_1035(name.text()));
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        At::root(new).get("spec").unchanged(errors, &At::root(old).get("spec"));
    }

    fn prepare_status(&self, new: &mut Value, old: &Value) {
        restore_all_but_status(new, old);
    }

    fn validate_status(&self, new: &Value, _old: &Value, errors: &mut ErrorList) {
        validate_conditions(&At::root(new).dig(&["status", "conditions"]), errors);
    }

    fn tracks_generation(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[Column::object_name(), Column::new("Resource", "What is written anew.")];
        COLUMNS
    }

    fn row(&self, object: &Value, _now: OffsetDateTime) -> Vec<Value> {
        let text = |field: &str| object.path_str(&["spec", "resource", field]).unwrap_or_default();
        let resource = match text("group") {
            "" => text("resource").to_owned(),
            group => format!("{}.{group}", text("resource")),
        };
        vec![table::name(object), resource.into()]
    }
}
