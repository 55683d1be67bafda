//! core/v1 Endpoints.

use crate::deprecated::address;
use crate::shape::STORED;
use crate::table;
use mainstay_apiserver_machinery::kind::{Column, Kind, Rules, Storage};
use mainstay_apiserver_machinery::validation::{At, ErrorList, names};
use mainstay_apiserver_machinery::value::Value;
use std::net::IpAddr;
use time::OffsetDateTime;

/// Addresses that a table row shows.
const SHOWN_MAX: usize = 3;

/// core/v1 Endpoints.
pub static ENDPOINTS: Kind = Kind {
    kind: "Endpoints",
    plural: "endpoints",
    singular: "endpoints",
    short_names: &["ep"],
    type_name: "core/v1.Endpoints",
    list_kind: "EndpointsList",
    rules: &Endpoints,
    storage: Some(Storage::new("services/endpoints")),
    ..STORED
};

struct Endpoints;

impl Rules for Endpoints {
    fn default(&self, object: &mut Value) {
        for subset in object.get_mut("subsets").and_then(Value::as_list_mut).into_iter().flatten() {
            for port in subset.get_mut("ports").and_then(Value::as_list_mut).into_iter().flatten() {
                if port.path_str(&["protocol"]).unwrap_or_default().is_empty() {
                    port.set_path(&["protocol"], "TCP");
                }
            }
        }
    }

    fn deprecation(&self) -> Option<String> {
        Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice".to_owned())
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        let mut out = Vec::new();
        for subset in At::root(new).get("subsets").items() {
            for list in ["addresses", "notReadyAddresses"] {
                subset.get(list).items().for_each(|one| address(&one.get("ip"), &mut out));
            }
        }
        out
    }

    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, _new: &mut Value, _old: &Value) {}

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        for subset in At::root(object).get("subsets").items() {
            let (ready, unready) = (subset.get("addresses"), subset.get("notReadyAddresses"));
            if ready.is_empty() && unready.is_empty() {
                // Both fields are named, as upstream does.
                errors.required(&subset.path, "must specify `addresses` or `notReadyAddresses`");
            }
            for address in ready.items().chain(unready.items()) {
                validate_address(&address, errors);
            }
            let several = subset.get("ports").len() > 1;
            for port in subset.get("ports").items() {
                validate_port(&port, several, errors);
            }
        }
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::object_name(),
            Column::new("Endpoints", "Addresses and ports that serve."),
            Column::new("Age", "Time since the object was created."),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        let mut shown = Vec::new();
        for subset in object.path_list(&["subsets"]) {
            let ips =
                || subset.path_list(&["addresses"]).iter().filter_map(|address| address.path_str(&["ip"]));
            let ports = subset.path_list(&["ports"]);
            if ports.is_empty() {
                shown.extend(ips().map(str::to_owned));
            }
            for port in ports {
                let port = port.path_i64(&["port"]).unwrap_or_default();
                shown.extend(ips().map(|ip| {
                    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
                }));
            }
        }
        let absent = if object.path_list(&["subsets"]).is_empty() { "<none>" } else { "" };
        let shown = table::first_of(shown.into_iter(), SHOWN_MAX, absent);
        vec![table::name(object), shown.into(), table::age(object, now)]
    }
}

fn validate_address(address: &At<'_>, errors: &mut ErrorList) {
    validate_endpoint_ip(&address.get("ip"), errors);
    let hostname = address.get("hostname");
    if !hostname.is_empty() {
        hostname.invalid_each(errors, names::dns_label(hostname.text()));
    }
    let node = address.get("nodeName");
    if node.is_set() {
        node.invalid_each(errors, names::dns_subdomain(node.text()));
    }
}

/// Checks an address that traffic is sent to: a valid one, and none that means this machine.
pub(crate) fn validate_endpoint_ip(ip: &At<'_>, errors: &mut ErrorList) {
    let Ok(address) = ip.text().parse::<IpAddr>() else {
        ip.invalid_each(errors, names::ip(ip.text()));
        return;
    };
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.segments()[0] & 0xffc0 == 0xfe80,
    };
    let link_local_multicast = match address {
        IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
        IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
    };
    if address.is_unspecified() {
        ip.invalid(errors, &format!("may not be unspecified ({})", ip.text()));
    }
    for (found, text) in [
        (address.is_loopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        (link_local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
        (link_local_multicast, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
    ] {
        if found {
            ip.invalid(errors, text);
        }
    }
}

fn validate_port(port: &At<'_>, name_required: bool, errors: &mut ErrorList) {
    let name = port.get("name");
    if !name.is_empty() {
        name.invalid_each(errors, names::dns_label(name.text()));
    } else if name_required {
        errors.required(&name.path, "");
    }
    let number = port.get("port");
    errors_for_port(&number, errors);
    let protocol = port.get("protocol");
    if protocol.require(errors, "") {
        protocol.one_of(errors, &["SCTP", "TCP", "UDP"]);
    }
}

fn errors_for_port(number: &At<'_>, errors: &mut ErrorList) {
    let value = number.int().unwrap_or_default();
    for fault in names::port_number(value) {
        errors.invalid(&number.path, value, &fault);
    }
}
