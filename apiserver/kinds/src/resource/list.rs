//! Checks that many lists of these kinds share: their length, unique items, names of pools and attributes.

use mainstay_apiserver_machinery::validation::{At, ErrorList, names};
use std::collections::HashSet;

const POOL_NAME_BYTES_MAX: usize = 253;
/// Bytes of an attribute's domain and identifier.
const DOMAIN_BYTES_MAX: usize = 63;
const ID_BYTES_MAX: usize = 32;

/// Reports a list of more than `max` items.
pub(super) fn validate_size(list: &At<'_>, max: usize, errors: &mut ErrorList) {
    if list.len() > max {
        errors.too_many(&list.path, list.len(), max);
    }
}

/// Reports items whose key occurs before in the list.
pub(super) fn validate_unique_by<'a>(list: &At<'a>, key: impl Fn(&At<'a>) -> String, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for item in list.items() {
        let key = key(&item);
        if seen.contains(&key) {
            errors.duplicate(&item.path, key);
        } else {
            seen.insert(key);
        }
    }
}

/// Checks the name of a pool: subdomains, joined by slashes.
pub(super) fn validate_pool(name: &At<'_>, errors: &mut ErrorList) {
    if !name.require(errors, "") {
        return;
    }
    if name.text().len() > POOL_NAME_BYTES_MAX {
        errors.too_long(&name.path, POOL_NAME_BYTES_MAX);
    }
    for part in name.text().split('/') {
        errors.invalid_each(&name.path, part, names::dns_subdomain(part));
    }
}

/// Checks the name of a device, request or counter.
pub(super) fn validate_label(name: &At<'_>, errors: &mut ErrorList) {
    errors.invalid_each(&name.path, name.text(), names::dns_label(name.text()));
}

/// Checks the name of an attribute or capacity: an identifier, after a domain where `qualified` asks for one.
pub(super) fn validate_attribute_name(name: &At<'_>, qualified: bool, errors: &mut ErrorList) {
    let text = name.text();
    if text.is_empty() {
        errors.required(&name.path, "name required");
        return;
    }
    let (domain, id) = match text.split_once('/') {
        Some((domain, id)) => (Some(domain), id),
        None => (None, text),
    };
    match domain {
        Some("") => errors.required(&name.path, "the domain must not be empty"),
        Some(domain) => {
            if domain.len() > DOMAIN_BYTES_MAX {
                errors.too_long(&name.path, DOMAIN_BYTES_MAX);
            }
            errors.invalid_each(&name.path, domain, names::dns_subdomain(domain));
        }
        None if qualified => name.invalid(errors, "must include a domain"),
        None => {}
    }
    let sound = id.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if id.is_empty() {
        errors.required(&name.path, "the name must not be empty");
    } else if id.len() > ID_BYTES_MAX {
        errors.too_long(&name.path, ID_BYTES_MAX);
    } else if !sound {
        errors.invalid(
            &name.path,
            id,
            "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric \
             characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is \
             '[A-Za-z_][A-Za-z0-9_]*')",
        );
    }
}
