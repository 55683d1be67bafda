//! resource.k8s.io/v1 DeviceTaintRule, and the check of taints of devices.

use super::list::{validate_label, validate_pool};
use crate::core::volume::validate_driver_name;
use crate::formats::validate_conditions;
use crate::shape::{Body, STORED};
use crate::status_update::restore_all_but_status;
use mainstay_apiserver_machinery::kind::{Kind, Rules, Storage};
use mainstay_apiserver_machinery::validation::{At, ErrorList, names};
use mainstay_apiserver_machinery::value::Value;

/// resource.k8s.io/v1 DeviceTaintRule.
pub static DEVICE_TAINT_RULE: Kind = Kind {
    group: "resource.k8s.io",
    kind: "DeviceTaintRule",
    plural: "devicetaintrules",
    singular: "devicetaintrule",
    namespaced: false,
    type_name: "resource.k8s.io/v1.DeviceTaintRule",
    list_kind: "DeviceTaintRuleList",
    subresources: &[Body {
        group: "resource.k8s.io",
        version: "v1",
        kind: "DeviceTaintRule",
        type_name: "resource.k8s.io/v1.DeviceTaintRule",
    }
    .status()],
    rules: &DeviceTaintRule,
    storage: Some(Storage::new("devicetaintrules")),
    ..STORED
};

const CONDITIONS_MAX: usize = 8;

struct DeviceTaintRule;

impl Rules for DeviceTaintRule {
    fn prepare_create(&self, object: &mut Value) {
        object.make_map().remove("status");
        // The taint holds from now on, unless the client says since when.
        let now = object.path(&["metadata", "creationTimestamp"]).cloned();
        if let Some(taint) = object.path_mut(&["spec", "taint"]).and_then(Value::as_map_mut)
            && let Some(now) = now
        {
            taint.get_or_insert("timeAdded", || now);
        }
    }

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let spec = At::root(object).get("spec");
        let selector = spec.get("deviceSelector");
        let (driver, pool, device) = (selector.get("driver"), selector.get("pool"), selector.get("device"));
        if driver.is_set() {
            validate_driver_name(&driver, errors);
        }
        if pool.is_set() {
            validate_pool(&pool, errors);
        }
        if device.is_set() {
            validate_label(&device, errors);
        }
        validate_taint(&spec.get("taint"), errors);
    }

    fn prepare_status(&self, new: &mut Value, old: &Value) {
        restore_all_but_status(new, old);
    }

    fn validate_status(&self, new: &Value, _old: &Value, errors: &mut ErrorList) {
        let conditions = At::root(new).dig(&["status", "conditions"]);
        validate_conditions(&conditions, errors);
        if conditions.len() > CONDITIONS_MAX {
            errors.too_many(&conditions.path, conditions.len(), CONDITIONS_MAX);
        }
    }

    fn tracks_generation(&self) -> bool {
        true
    }
}

/// Checks a taint of a device.
pub(super) fn validate_taint(taint: &At<'_>, errors: &mut ErrorList) {
    let (key, value, effect) = (taint.get("key"), taint.get("value"), taint.get("effect"));
    errors.invalid_each(&key.path, key.text(), names::qualified_name(key.text()));
    if !value.is_empty() {
        value.invalid_each(errors, names::label_value(value.text()));
    }
    if effect.require(errors, "") {
        effect.one_of(errors, &["NoExecute", "NoSchedule", "None"]);
    }
}
