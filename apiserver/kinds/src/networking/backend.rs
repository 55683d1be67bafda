//! The check of where an ingress sends requests.

use crate::formats::validate_typed_reference;
use mainstay_apiserver_machinery::validation::{At, ErrorList, names};

pub(super) fn validate(backend: &At<'_>, errors: &mut ErrorList) {
    let (resource, service) = (backend.get("resource"), backend.get("service"));
    match (resource.is_set(), service.is_set()) {
        (true, true) => errors.invalid(&backend.path, "", "cannot set both resource and service backends"),
        (true, false) => validate_typed_reference(&resource, errors),
        (false, true) => validate_service(backend, &service, errors),
        (false, false) => errors.invalid(&backend.path, "", "resource or service backend is required"),
    }
}

fn validate_service(backend: &At<'_>, service: &At<'_>, errors: &mut ErrorList) {
    let name = service.get("name");
    if name.require(errors, "") {
        name.invalid_each(errors, names::dns_label(name.text()));
    }
    let port = service.get("port");
    let (name, number) = (port.get("name"), port.get("number"));
    match (name.is_empty(), number.int().filter(|number| *number != 0)) {
        (false, Some(_)) => errors.invalid(&backend.path, "", "cannot set both port name & port number"),
        (false, None) => name.invalid_each(errors, names::port_name(name.text())),
        (true, Some(value)) => number.invalid_each(errors, names::port_number(value)),
        (true, None) => errors.required(&backend.path, "port name or number is required"),
    }
}
