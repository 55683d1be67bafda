//! The check of how a webhook is called: by URL or through a service.

use mainstay_apiserver_machinery::validation::{At, ErrorList, names};

const FORM: &str = "; desired format: https://host[/path]";

pub(super) fn validate(config: &At<'_>, errors: &mut ErrorList) {
    let (url, service) = (config.get("url"), config.get("service"));
    if url.is_set() == service.is_set() {
        errors.required(&config.path, "exactly one of url or service is required");
    } else if url.is_set() {
        validate_url(&url, errors);
    } else {
        validate_service(&service, errors);
    }
}

fn validate_url(url: &At<'_>, errors: &mut ErrorList) {
    let text = url.text();
    let (text, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (text, query) = text.split_once('?').unwrap_or((text, ""));
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    if scheme != "https" {
        errors.invalid(&url.path, scheme, &format!("'https' is the only allowed URL scheme{FORM}"));
    }
    let authority = if scheme.is_empty() { "" } else { rest.split('/').next().unwrap_or_default() };
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if host.is_empty() {
        errors.invalid(&url.path, host, &format!("host must be specified{FORM}"));
    }
    if !user.is_empty() {
        errors.invalid(&url.path, user, "user information is not permitted in the URL");
    }
    if !fragment.is_empty() {
        errors.invalid(&url.path, fragment, "fragments are not permitted in the URL");
    }
    if !query.is_empty() {
        errors.invalid(&url.path, query, "query parameters are not permitted in the URL");
    }
}

fn validate_service(service: &At<'_>, errors: &mut ErrorList) {
    service.get("name").require(errors, "service name is required");
    service.get("namespace").require(errors, "service namespace is required");
    let port = service.get("port");
    let faults = names::port_number(port.int().unwrap_or_default());
    if !faults.is_empty() {
        port.invalid(errors, &format!("port is not valid: {}", faults.join(", ")));
    }
    let path = service.get("path");
    match path.text() {
        "" | "/" => {}
        "//" => path.invalid(errors, "segment[0] may not be empty"),
        text => {
            if !text.starts_with('/') {
                path.invalid(errors, "must start with a '/'");
            }
            let mut inner = text.chars();
            inner.next();
            let inner = inner.as_str();
            for (i, step) in inner.strip_suffix('/').unwrap_or(inner).split('/').enumerate() {
                if step.is_empty() {
                    path.invalid(errors, &format!("segment[{i}] may not be empty"));
                    continue;
                }
                for fault in names::dns_subdomain(step) {
                    path.invalid(errors, &format!("segment[{i}]: {fault}"));
                }
            }
        }
    }
}
