//! resource.k8s.io/v1 ResourceSlice: devices that a driver offers.

use super::device;
use super::list::{validate_label, validate_pool, validate_unique_by, within};
use crate::core::volume::validate_driver_name;
use crate::gates;
use crate::pod_spec::validate_node_selector;
use crate::shape::STORED;
use crate::table;
use mainstay_apiserver_machinery::kind::{Column, Kind, Rules, Storage};
use mainstay_apiserver_machinery::validation::{At, ErrorList, names};
use mainstay_apiserver_machinery::value::Value;
use smol_str::SmolStr;
use time::OffsetDateTime;

const DEVICES_MAX: usize = 128;
/// Devices of a slice in which some are tainted or draw on counters.
const COMPLEX_DEVICES_MAX: usize = 64;
const COUNTER_SETS_MAX: usize = 8;

/// resource.k8s.io/v1 ResourceSlice.
pub static RESOURCE_SLICE: Kind = Kind {
    group: "resource.k8s.io",
    kind: "ResourceSlice",
    plural: "resourceslices",
    singular: "resourceslice",
    namespaced: false,
    type_name: "resource.k8s.io/v1.ResourceSlice",
    list_kind: "ResourceSliceList",
    rules: &ResourceSlice,
    storage: Some(Storage::new("resourceslices")),
    ..STORED
};

const FIELDS: &[&str] = &["spec.driver", "spec.nodeName", "spec.pool.name"];

struct ResourceSlice;

impl Rules for ResourceSlice {
    fn drop_gated(&self, new: &mut Value, old: Option<&Value>) {
        // Of the features `DRAOptionalNodeOperations`, `DRAPartitionableDevicesType` and `DRANodeAllocatableResources`.
        gates::drop_fields(
            new,
            old,
            &[
                &["spec", "skipNodeOperations"],
                &["spec", "partitionTypeAttribute"],
                &["spec", "devices", "*", "nodeAllocatableResources"],
            ],
        );
    }

    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, _new: &mut Value, _old: &Value) {}

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let spec = At::root(object).get("spec");
        validate_driver_name(&spec.get("driver"), errors);
        validate_pool_of(&spec.get("pool"), errors);
        validate_nodes(&spec, errors);
        validate_devices(&spec, errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        let (spec, before) = (At::root(new).get("spec"), At::root(old).get("spec"));
        validate_driver_name(&spec.get("driver"), errors);
        validate_pool_of(&spec.get("pool"), errors);
        for path in [&["pool", "name"][..], &["driver"][..], &["nodeName"][..]] {
            spec.dig(path).unchanged(errors, &before.dig(path));
        }
        validate_nodes(&spec, errors);
        validate_devices(&spec, errors);
    }

    fn tracks_generation(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::object_name(),
            Column::new("Node", "The node that has the devices."),
            Column::new("Driver", "Who offers the devices."),
            Column::new("Pool", "The pool that the slice is part of."),
            table::AGE,
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        let text = |path: &[&str], absent: &str| table::text_or(object, path, absent);
        vec![
            table::name(object),
            text(&["spec", "nodeName"], "<none>"),
            text(&["spec", "driver"], ""),
            text(&["spec", "pool", "name"], ""),
            table::age(object, now),
        ]
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        FIELDS
    }

    fn indexed_fields(&self) -> &'static [&'static str] {
        &["spec.nodeName"]
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, SmolStr)> {
        let value = |field: &'static str| {
            let path: Vec<&str> = field.split('.').collect();
            (field, SmolStr::new(object.path_str(&path).unwrap_or_default()))
        };
        FIELDS.iter().copied().map(value).collect()
    }
}

fn validate_pool_of(pool: &At<'_>, errors: &mut ErrorList) {
    validate_pool(&pool.get("name"), errors);
    let (count, generation) = (pool.get("resourceSliceCount"), pool.get("generation"));
    let slices = count.int().unwrap_or_default();
    if slices <= 0 {
        errors.invalid(&count.path, slices, "must be greater than zero");
    }
    if generation.int().is_some_and(|generation| generation < 0) {
        generation.invalid(errors, "must be greater than or equal to zero");
    }
}

fn validate_nodes(spec: &At<'_>, errors: &mut ErrorList) {
    const ONE: &str =
        "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    let mut set = Vec::new();
    let name = spec.get("nodeName");
    if name.is_set() {
        if name.is_empty() {
            name.invalid(errors, "must be either unset or set to a non-empty string");
        } else {
            set.push(String::from("`nodeName`"));
            name.invalid_each(errors, names::dns_subdomain(name.text()));
        }
    }
    let selector = spec.get("nodeSelector");
    if selector.is_set() {
        set.push(String::from("`nodeSelector`"));
        validate_node_selector(&selector, errors);
        let terms = selector.get("nodeSelectorTerms");
        if terms.len() != 1 {
            terms.invalid(errors, "must have exactly one node selector term");
        }
    }
    for field in ["allNodes", "perDeviceNodeSelection"] {
        let flag = spec.get(field);
        if flag.flag() {
            set.push(format!("`{field}`"));
        } else if flag.is_set() {
            flag.invalid(errors, "must be either unset or set to true");
        }
    }
    match set.len() {
        0 => errors.required(&spec.path, ONE),
        1 => {}
        _ => {
            let text = format!("{ONE}, but multiple fields are set");
            errors.invalid(&spec.path, format!("{{{}}}", set.join(", ")), &text);
        }
    }
}

fn validate_devices(spec: &At<'_>, errors: &mut ErrorList) {
    let (devices, counters) = (spec.get("devices"), spec.get("sharedCounters"));
    if !devices.is_empty() && !counters.is_empty() {
        errors.invalid(&spec.path, "", "only one of `sharedCounters` or `devices` is allowed");
    }
    let is_complex =
        |device: At<'_>| !device.get("taints").is_empty() || !device.get("consumesCounters").is_empty();
    let max = if devices.items().any(is_complex) { COMPLEX_DEVICES_MAX } else { DEVICES_MAX };
    let devices = within(&devices, max, errors);
    let per_device = spec.get("perDeviceNodeSelection").flag();
    for one in &devices {
        device::validate(one, per_device, errors);
    }
    validate_unique_by(&devices, |device| device.text_of("name").to_owned(), errors);
    let counters = within(&counters, COUNTER_SETS_MAX, errors);
    for set in &counters {
        let name = set.get("name");
        if name.require(errors, "") {
            validate_label(&name, errors);
        }
        device::validate_counters(&set.get("counters"), errors);
    }
    validate_unique_by(&counters, |set| set.text_of("name").to_owned(), errors);
}
