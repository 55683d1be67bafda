//! storage.k8s.io/v1 CSINode: which drivers a node runs.

use crate::core::volume::validate_driver_name;
use crate::shape::STORED;
use crate::table;
use mainstay_apiserver_machinery::kind::{Column, Kind, Rules, Storage};
use mainstay_apiserver_machinery::validation::{At, ErrorList, FIELD_IS_IMMUTABLE, names};
use mainstay_apiserver_machinery::value::Value;
use std::collections::HashSet;
use time::OffsetDateTime;

const NODE_ID_BYTES_MAX: usize = 256;

/// storage.k8s.io/v1 CSINode.
pub static CSI_NODE: Kind = Kind {
    group: "storage.k8s.io",
    kind: "CSINode",
    plural: "csinodes",
    singular: "csinode",
    namespaced: false,
    type_name: "storage.k8s.io/v1.CSINode",
    list_kind: "CSINodeList",
    rules: &CsiNode,
    storage: Some(Storage::new("csinodes")),
    ..STORED
};

struct CsiNode;

impl Rules for CsiNode {
    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, _new: &mut Value, _old: &Value) {}

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let mut seen = HashSet::new();
        for driver in At::root(object).dig(&["spec", "drivers"]).items() {
            let (name, id) = (driver.get("name"), driver.get("nodeID"));
            validate_driver_name(&name, errors);
            id.require(errors, "");
            if id.text().len() > NODE_ID_BYTES_MAX {
                id.invalid(errors, &format!("must be {NODE_ID_BYTES_MAX} characters or less"));
            }
            driver.dig(&["allocatable", "count"]).non_negative(errors);
            if !seen.insert(name.text()) {
                errors.duplicate(&name.path, name.text());
            }
            validate_topology_keys(&driver, errors);
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        self.validate(new, errors);
        let fixed = |driver: &Value| {
            let mut driver = driver.clone();
            driver.remove_path(&["allocatable"]);
            driver
        };
        let drivers = At::root(new).dig(&["spec", "drivers"]);
        for was in At::root(old).dig(&["spec", "drivers"]).items() {
            for driver in drivers.items().filter(|driver| driver.text_of("name") == was.text_of("name")) {
                if fixed(driver.value) != fixed(was.value) {
                    errors.invalid(&drivers.path, fixed(driver.value), FIELD_IS_IMMUTABLE);
                }
            }
        }
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::object_name(),
            Column::new("Drivers", "How many drivers the node runs.").of_type("integer"),
            table::AGE,
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        vec![table::name(object), table::count(object, &["spec", "drivers"]), table::age(object, now)]
    }
}

/// Checks the keys; upstream shows their faults at the driver.
fn validate_topology_keys(driver: &At<'_>, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for key in driver.get("topologyKeys").items() {
        let key = At::new(key.value, driver.path.clone());
        key.require(errors, "");
        if !seen.insert(key.text()) {
            errors.duplicate(&key.path, key.text());
        }
        key.invalid_each(errors, names::qualified_name(key.text()));
    }
}
