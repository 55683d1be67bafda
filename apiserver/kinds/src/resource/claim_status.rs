//! What an update of a claim's status may say: what was allocated, once, and for whom it is reserved.

use super::bindings;
use super::claim_spec::{
    Requests, requests, validate_configuration, validate_reference, validate_references,
};
use super::list::{validate_label, validate_pool, validate_raw, validate_unique_by, within};
use crate::core::volume::validate_driver_name;
use crate::formats::{validate_conditions, validate_length};
use crate::pod_spec::validate_node_selector;
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::validation::{At, ErrorList};
use mainstay_apiserver_machinery::value::Value;
use std::collections::HashSet;

const RESERVED_MAX: usize = 256;
const RESULTS_MAX: usize = 32;
const CONFIG_MAX: usize = 64;
const CONDITIONS_MAX: usize = 8;
const DATA_BYTES_MAX: usize = 10 * 1024;
const INTERFACE_BYTES_MAX: usize = 256;
const HARDWARE_BYTES_MAX: usize = 128;
const ADDRESSES_MAX: usize = 16;

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
    let users = within(&reserved, RESERVED_MAX, errors);
    for user in &users {
        for field in ["resource", "name", "uid"] {
            user.get(field).require(errors, "");
        }
    }
    validate_unique_by(&users, |user| user.text_of("uid").to_owned(), errors);
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
    let devices: Vec<At<'_>> = status.get("devices").items().collect();
    for entry in &devices {
        validate_driver_name(&entry.get("driver"), errors);
        validate_pool(&entry.get("pool"), errors);
        validate_label(&entry.get("device"), errors);
        validate_share(&entry.get("shareID"), errors);
        if !allocated.contains(&device(entry)) {
            errors.invalid(&entry.path, device(entry), "must be an allocated device in the claim");
        }
        let conditions = entry.get("conditions");
        if conditions.len() > CONDITIONS_MAX {
            errors.too_many(&conditions.path, conditions.len(), CONDITIONS_MAX);
        }
        validate_conditions(&conditions, errors);
        let data = entry.get("data");
        if data.is_set() {
            validate_raw(&data, DATA_BYTES_MAX, errors);
        }
        validate_network(&entry.get("networkData"), errors);
    }
    validate_unique_by(&devices, device, errors);
}

/// Checks the id of a share of a device: a UUID as it is usually written.
fn validate_share(share: &At<'_>, errors: &mut ErrorList) {
    let parts: Vec<usize> = share.text().split('-').map(str::len).collect();
    let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b) || b == b'-';
    if share.is_set() && (parts != [8, 4, 4, 4, 12] || !share.text().bytes().all(is_hex)) {
        share.invalid(
            errors,
            "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase \
             hexadecimal characters",
        );
    }
}

fn validate_network(network: &At<'_>, errors: &mut ErrorList) {
    validate_length(&network.get("interfaceName"), INTERFACE_BYTES_MAX, errors);
    validate_length(&network.get("hardwareAddress"), HARDWARE_BYTES_MAX, errors);
    let addresses = within(&network.get("ips"), ADDRESSES_MAX, errors);
    for address in &addresses {
        address.invalid_each(errors, interface_address(address.text()));
    }
    validate_unique_by(&addresses, |address| address.text().to_owned(), errors);
}

/// What is wrong with an address of an interface: an address with the length of its network's prefix, in canonical form.
fn interface_address(text: &str) -> Vec<String> {
    match text.parse::<ipnet::IpNet>() {
        Err(_) => {
            vec![String::from("must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)")]
        }
        Ok(net) if net.to_string() != text => vec![format!("must be in canonical form (\"{net}\")")],
        Ok(_) => Vec::new(),
    }
}

fn validate_allocation(allocation: &At<'_>, known: &Requests<'_>, errors: &mut ErrorList) {
    for result in within(&allocation.dig(&["devices", "results"]), RESULTS_MAX, errors) {
        validate_reference(&result.get("request"), known, errors);
        validate_driver_name(&result.get("driver"), errors);
        validate_pool(&result.get("pool"), errors);
        validate_label(&result.get("device"), errors);
        bindings::validate(&result, errors);
        validate_share(&result.get("shareID"), errors);
    }
    for entry in within(&allocation.dig(&["devices", "config"]), CONFIG_MAX, errors) {
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
