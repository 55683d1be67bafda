//! storage.k8s.io/v1 CSIStorageCapacity.

use crate::amount::validate_quantity;
use crate::deprecated::node_selector;
use crate::shape::STORED;
use crate::table;
use mainstay_apiserver_machinery::kind::{Column, Kind, Rules, Storage};
use mainstay_apiserver_machinery::validation::{At, ErrorList, names, validate_label_selector};
use mainstay_apiserver_machinery::value::Value;
use time::OffsetDateTime;

/// storage.k8s.io/v1 CSIStorageCapacity.
pub static CSI_STORAGE_CAPACITY: Kind = Kind {
    group: "storage.k8s.io",
    kind: "CSIStorageCapacity",
    plural: "csistoragecapacities",
    singular: "csistoragecapacity",
    type_name: "storage.k8s.io/v1.CSIStorageCapacity",
    list_kind: "CSIStorageCapacityList",
    rules: &CsiStorageCapacity,
    storage: Some(Storage::new("csistoragecapacities")),
    ..STORED
};

struct CsiStorageCapacity;

impl Rules for CsiStorageCapacity {
    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        let mut out = Vec::new();
        node_selector(&At::root(new).get("nodeTopology"), &mut out);
        out
    }

    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, _new: &mut Value, _old: &Value) {}

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let capacity = At::root(object);
        let topology = capacity.get("nodeTopology");
        validate_label_selector(topology.value, true, &topology.path, errors);
        let class = capacity.get("storageClassName");
        errors.invalid_each(&class.path, class.text(), names::dns_subdomain(class.text()));
        validate_quantity(&capacity.get("capacity"), errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        let (capacity, before) = (At::root(new), At::root(old));
        for field in ["nodeTopology", "storageClassName"] {
            capacity.get(field).unchanged(errors, &before.get(field));
        }
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::object_name(),
            Column::new("StorageClassName", "Class of volumes that the capacity is for."),
            Column::new("Capacity", "How much is free."),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, _now: OffsetDateTime) -> Vec<Value> {
        let text = |field: &str, absent: &str| table::text_or(object, &[field], absent);
        vec![table::name(object), text("storageClassName", ""), text("capacity", "<unset>")]
    }
}
