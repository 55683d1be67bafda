//! storage.k8s.io/v1 VolumeAttributesClass.

use super::parameters;
use crate::shape::STORED;
use crate::table;
use mainstay_apiserver_machinery::kind::{Column, Kind, Rules, Storage};
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::validation::{At, ErrorList};
use mainstay_apiserver_machinery::value::Value;
use time::OffsetDateTime;

/// storage.k8s.io/v1 VolumeAttributesClass.
pub static VOLUME_ATTRIBUTES_CLASS: Kind = Kind {
    group: "storage.k8s.io",
    kind: "VolumeAttributesClass",
    plural: "volumeattributesclasses",
    singular: "volumeattributesclass",
    short_names: &["vac"],
    namespaced: false,
    type_name: "storage.k8s.io/v1.VolumeAttributesClass",
    list_kind: "VolumeAttributesClassList",
    rules: &VolumeAttributesClass,
    storage: Some(Storage::new("volumeattributesclasses")),
    ..STORED
};

struct VolumeAttributesClass;

impl Rules for VolumeAttributesClass {
    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, _new: &mut Value, _old: &Value) {}

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let class = At::root(object);
        parameters::validate_driver(&class.get("driverName"), errors);
        parameters::validate(&class.get("parameters"), false, errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        let (class, before) = (At::root(new), At::root(old));
        parameters::validate_fixed(&class, &before, &["driverName", "parameters"], errors);
        self.validate(new, errors);
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::object_name(),
            Column::new("DriverName", "The driver that knows the attributes."),
            table::AGE,
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        let meta = Meta(object);
        let default = meta.annotation("volumeattributesclass.kubernetes.io/is-default-class") == Some("true");
        let name = if default { format!("{} (default)", meta.name()) } else { meta.name().to_owned() };
        vec![name.into(), table::text_or(object, &["driverName"], ""), table::age(object, now)]
    }
}
