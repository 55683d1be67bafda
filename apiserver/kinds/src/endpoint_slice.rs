//! discovery.k8s.io/v1 EndpointSlice.

use crate::core::endpoints::validate_endpoint_ip;
use crate::deprecated::address;
use crate::shape::STORED;
use crate::table;
use mainstay_apiserver_machinery::kind::{Column, Kind, Rules, Storage};
use mainstay_apiserver_machinery::validation::{At, ErrorList, names, validate_labels};
use mainstay_apiserver_machinery::value::Value;
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use time::OffsetDateTime;

const ENDPOINTS_MAX: usize = 1000;
const ADDRESSES_MAX: usize = 100;
const PORTS_MAX: usize = 20_000;
const HINTS_MAX: usize = 8;
const TOPOLOGY_MAX: usize = 16;
/// Ports and addresses that a table row shows.
const SHOWN_MAX: usize = 3;

/// discovery.k8s.io/v1 EndpointSlice.
pub static ENDPOINT_SLICE: Kind = Kind {
    group: "discovery.k8s.io",
    kind: "EndpointSlice",
    plural: "endpointslices",
    singular: "endpointslice",
    type_name: "discovery.k8s.io/v1.EndpointSlice",
    list_kind: "EndpointSliceList",
    rules: &EndpointSlice,
    storage: Some(Storage::new("endpointslices")),
    ..STORED
};

struct EndpointSlice;

impl Rules for EndpointSlice {
    fn default(&self, object: &mut Value) {
        for port in object.get_mut("ports").and_then(Value::as_list_mut).into_iter().flatten() {
            for (field, value) in [("name", ""), ("protocol", "TCP")] {
                if port.get(field).is_none_or(Value::is_null) {
                    port.set_path(&[field], value);
                }
            }
        }
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        let mut out = Vec::new();
        if matches!(new.path_str(&["addressType"]), Some("IPv4" | "IPv6")) {
            for endpoint in At::root(new).get("endpoints").items() {
                endpoint.get("addresses").items().for_each(|one| address(&one, &mut out));
            }
        }
        out
    }

    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, _new: &mut Value, _old: &Value) {}

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let slice = At::root(object);
        let address_type = slice.get("addressType");
        if address_type.require(errors, "") {
            address_type.one_of(errors, &["FQDN", "IPv4", "IPv6"]);
        }
        validate_endpoints(&slice.get("endpoints"), address_type.text(), errors);
        validate_ports(&slice.get("ports"), errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        self.validate(new, errors);
        At::root(new).get("addressType").unchanged(errors, &At::root(old).get("addressType"));
    }

    fn tracks_generation(&self) -> bool {
        true
    }

    fn generation_changed(&self, new: &Value, old: &Value) -> bool {
        ["addressType", "endpoints", "ports"].iter().any(|field| new.get(field) != old.get(field))
            || new.path(&["metadata", "labels"]) != old.path(&["metadata", "labels"])
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::object_name(),
            Column::new("AddressType", "What the addresses are."),
            Column::new("Ports", "Ports that every endpoint serves."),
            Column::new("Endpoints", "Addresses of the endpoints."),
            Column::new("Age", "Time since the object was created."),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        let ports = object.path_list(&["ports"]).iter().map(|port| match port.path_i64(&["port"]) {
            Some(number) => number.to_string(),
            None => port.path_str(&["name"]).unwrap_or("*").to_owned(),
        });
        let endpoints = object.path_list(&["endpoints"]).iter();
        let addresses =
            endpoints.flat_map(|endpoint| endpoint.path_list(&["addresses"])).filter_map(Value::as_str);
        vec![
            table::name(object),
            table::text_or(object, &["addressType"], ""),
            table::first_of(ports, SHOWN_MAX, "<unset>").into(),
            table::first_of(addresses.map(str::to_owned), SHOWN_MAX, "<unset>").into(),
            table::age(object, now),
        ]
    }
}

fn validate_endpoints(endpoints: &At<'_>, address_type: &str, errors: &mut ErrorList) {
    if endpoints.len() > ENDPOINTS_MAX {
        errors.too_many(&endpoints.path, endpoints.len(), ENDPOINTS_MAX);
        return;
    }
    for endpoint in endpoints.items() {
        let addresses = endpoint.get("addresses");
        if addresses.is_empty() {
            errors.required(&addresses.path, "must contain at least 1 address");
        } else if addresses.len() > ADDRESSES_MAX {
            errors.too_many(&addresses.path, addresses.len(), ADDRESSES_MAX);
        }
        for address in addresses.items() {
            validate_address(&address, address_type, errors);
        }
        let node = endpoint.get("nodeName");
        if node.is_set() {
            node.invalid_each(errors, names::dns_subdomain(node.text()));
        }
        validate_topology(&endpoint.get("deprecatedTopology"), errors);
        let hostname = endpoint.get("hostname");
        if hostname.is_set() {
            hostname.invalid_each(errors, names::dns_label(hostname.text()));
        }
        let hints = endpoint.get("hints");
        validate_hints(&hints.get("forZones"), names::label_value, errors);
        validate_hints(&hints.get("forNodes"), names::dns_subdomain, errors);
    }
}

fn validate_topology(topology: &At<'_>, errors: &mut ErrorList) {
    if topology.len() > TOPOLOGY_MAX {
        errors.too_many(&topology.path, topology.len(), TOPOLOGY_MAX);
    }
    validate_labels(topology.map(), &topology.path, errors);
}

/// Checks the names of the zones or nodes that an endpoint is meant for.
fn validate_hints(hints: &At<'_>, rule: fn(&str) -> Vec<String>, errors: &mut ErrorList) {
    if hints.len() > HINTS_MAX {
        errors.too_many(&hints.path, hints.len(), HINTS_MAX);
        return;
    }
    let mut seen = HashSet::new();
    for hint in hints.items() {
        let name = hint.get("name");
        if !seen.insert(name.text()) {
            errors.duplicate(&name.path, name.text());
        }
        errors.invalid_each(&name.path, name.text(), rule(name.text()));
    }
}

fn validate_address(address: &At<'_>, address_type: &str, errors: &mut ErrorList) {
    let text = address.text();
    match address_type {
        "IPv4" | "IPv6" => {
            let fits = match address_type {
                "IPv4" => text.parse::<Ipv4Addr>().is_ok(),
                _ => text.parse::<Ipv6Addr>().is_ok(),
            };
            if !fits {
                address.invalid(errors, &format!("must be a valid {address_type} address"));
            }
            if text.parse::<IpAddr>().is_ok() {
                validate_endpoint_ip(address, errors);
            } else {
                address.invalid(errors, "must be a valid IP address");
            }
        }
        "FQDN" => {
            let name = address.text().strip_suffix('.').unwrap_or_else(|| address.text());
            let faults = names::dns_subdomain(name);
            if faults.is_empty() && !name.contains('.') {
                address.invalid(errors, "should be a domain with at least two segments separated by dots");
            }
            address.invalid_each(errors, faults);
        }
        _ => {}
    }
}

fn validate_ports(ports: &At<'_>, errors: &mut ErrorList) {
    if ports.len() > PORTS_MAX {
        errors.too_many(&ports.path, ports.len(), PORTS_MAX);
        return;
    }
    let mut seen = HashSet::new();
    for port in ports.items() {
        let name = port.get("name");
        if !name.is_empty() {
            name.invalid_each(errors, names::dns_label(name.text()));
        }
        if !seen.insert(name.text()) {
            errors.duplicate(&name.path, name.text());
        }
        let protocol = port.get("protocol");
        if protocol.require(errors, "") {
            protocol.one_of(errors, &["SCTP", "TCP", "UDP"]);
        }
        let number = port.get("port");
        if number.is_set() {
            number.invalid_each(errors, names::port_number(number.int().unwrap_or_default()));
        }
        let application = port.get("appProtocol");
        if application.is_set() {
            application.invalid_each(errors, names::qualified_name(application.text()));
        }
    }
}
