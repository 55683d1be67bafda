//! What an update of a claim's status may say: what was allocated, once, and for whom it is reserved.

use super::claim_spec::{
    Requests, requests, validate_configuration, validate_reference, validate_references,
};
use super::list::{validate_label, validate_pool, validate_size, validate_unique_by};
use crate::core::volume::validate_driver_name;
use crate::formats::validate_conditions;
use crate::pod_spec::validate_node_selector;
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::validation::{At, ErrorList};
use mainstay_apiserver_machinery::value::Value;
use std::collections::HashSet;

const RESERVED_MAX: usize = 256;
const RESULTS_MAX: usize = 32;
const CONFIG_MAX: usize = 64;

fn device(of: &At<'_>) -> String {
    let mut id = format!("{}/{}/{}", of.text_of("driver"), of.text_of("pool"), of.text_of("device"));
    if !of.text_of("shareID").is_empty() {
        id = format!("{id}/{}", of.text_of("shareID"));
    }
    id
}

pub(super) fn validate(new: &Value, old: &Value, errors: &mut ErrorList) {
    let root = At::root(new);
    let (status, before) = (root.get("status"), At::root(old).get("status"));
    let known = requests(&root.dig(&["spec", "devices"]));
    let reserved = status.get("reservedFor");
    validate_size(&reserved, RESERVED_MAX, errors);
    validate_unique_by(&reserved, |user| user.text_of("uid").to_owned(), errors);
    for user in reserved.items() {
        for field in ["resource", "name", "uid"] {
            user.get(field).require(errors, "");
        }
    }
    let allocation = status.get("allocation");
    validate_device_statuses(&status, &allocation, errors);
    if !reserved.is_empty() {
        validate_reservations(new, &reserved, &before.get("reservedFor"), allocation.is_set(), errors);
    }
    if allocation.is_set() {
        if before.has("allocation") {
            allocation.unchanged(errors, &before.get("allocation"));
        } else {
            validate_allocation(&allocation, &known, errors);
        }
    }
}

fn validate_reservations(claim: &Value, now: &At<'_>, was: &At<'_>, allocated: bool, errors: &mut ErrorList) {
    if !allocated {
        errors.forbidden(&now.path, "may not be specified when `allocated` is not set");
    } else if Meta(claim).is_deleting()
        && now.items().any(|user| !was.items().any(|old| old.value == user.value))
    {
        let text =
            "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
        errors.forbidden(&now.path, text);
    }
}

fn validate_device_statuses(status: &At<'_>, allocation: &At<'_>, errors: &mut ErrorList) {
    let allocated: HashSet<String> =
        allocation.dig(&["devices", "results"]).items().map(|result| device(&result)).collect();
    let devices = status.get("devices");
    validate_unique_by(&devices, device, errors);
    for entry in devices.items() {
        validate_driver_name(&entry.get("driver"), errors);
        validate_pool(&entry.get("pool"), errors);
        validate_label(&entry.get("device"), errors);
        if !allocated.contains(&device(&entry)) {
            errors.invalid(&entry.path, device(&entry), "must be an allocated device in the claim");
        }
        validate_conditions(&entry.get("conditions"), errors);
    }
}

fn validate_allocation(allocation: &At<'_>, known: &Requests<'_>, errors: &mut ErrorList) {
    let results = allocation.dig(&["devices", "results"]);
    validate_size(&results, RESULTS_MAX, errors);
    for result in results.items() {
        validate_reference(&result.get("request"), known, errors);
        validate_driver_name(&result.get("driver"), errors);
        validate_pool(&result.get("pool"), errors);
        validate_label(&result.get("device"), errors);
    }
    let config = allocation.dig(&["devices", "config"]);
    validate_size(&config, CONFIG_MAX, errors);
    for entry in config.items() {
        let source = entry.get("source");
        if source.require(errors, "") {
            source.one_of(errors, &["FromClaim", "FromClass"]);
        }
        validate_references(&entry.get("requests"), known, errors);
        validate_configuration(&entry, errors);
    }
    let nodes = allocation.get("nodeSelector");
    if nodes.is_set() {
        validate_node_selector(&nodes, errors);
    }
}
