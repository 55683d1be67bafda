//! resource.k8s.io/v1 DeviceClass.

use super::claim_spec::validate_configuration;
use super::list::within;
use super::selector;
use crate::shape::STORED;
use crate::table;
use mainstay_apiserver_machinery::kind::{Column, Kind, Rules, Storage};
use mainstay_apiserver_machinery::validation::{At, ErrorList, names};
use mainstay_apiserver_machinery::value::Value;
use time::OffsetDateTime;

const CONFIG_MAX: usize = 32;

/// resource.k8s.io/v1 DeviceClass.
pub static DEVICE_CLASS: Kind = Kind {
    group: "resource.k8s.io",
    kind: "DeviceClass",
    plural: "deviceclasses",
    singular: "deviceclass",
    namespaced: false,
    type_name: "resource.k8s.io/v1.DeviceClass",
    list_kind: "DeviceClassList",
    rules: &DeviceClass,
    storage: Some(Storage::new("deviceclasses")),
    ..STORED
};

struct DeviceClass;

impl Rules for DeviceClass {
    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, _new: &mut Value, _old: &Value) {}

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let spec = At::root(object).get("spec");
        selector::validate(&spec.get("selectors"), errors);
        for entry in within(&spec.get("config"), CONFIG_MAX, errors) {
            validate_configuration(&entry, errors);
        }
        let extended = spec.get("extendedResourceName");
        if extended.is_set() && !is_extended_resource(extended.text()) {
            extended.invalid(errors, "must be a valid extended resource name");
        }
    }

    fn tracks_generation(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[Column::object_name(), table::AGE];
        COLUMNS
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        vec![table::name(object), table::age(object, now)]
    }
}

/// Whether pods may ask for a resource of this name beside those that nodes know themselves.
fn is_extended_resource(name: &str) -> bool {
    name.contains('/')
        && !name.contains("kubernetes.io/")
        && !name.starts_with("requests.")
        && names::qualified_name(&format!("requests.{name}")).is_empty()
}
