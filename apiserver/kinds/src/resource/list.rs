//! Checks that many lists of these kinds share: their length, unique items, names of pools and attributes.

use mainstay_apiserver_machinery::validation::{At, ErrorList, Path, names};
use std::collections::HashSet;

const POOL_NAME_BYTES_MAX: usize = 253;
/// Bytes of an attribute's domain and identifier.
const DOMAIN_BYTES_MAX: usize = 63;
const ID_BYTES_MAX: usize = 32;

/// The items of a list; none of one of more than `max`, which is reported instead.
pub(super) fn within<'a>(list: &At<'a>, max: usize, errors: &mut ErrorList) -> Vec<At<'a>> {
    if list.len() > max {
        errors.too_many(&list.path, list.len(), max);
        return Vec::new();
    }
    list.items().collect()
}

/// Reports items whose key occurs before among them.
pub(super) fn validate_unique_by<'a>(
    items: &[At<'a>],
    key: impl Fn(&At<'a>) -> String,
    errors: &mut ErrorList,
) {
    let mut seen = HashSet::new();
    for item in items {
        let key = key(item);
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

/// Checks the name of an attribute or capacity: an identifier, perhaps after a domain. What has several slashes is, as
/// upstream, not looked at.
pub(super) fn validate_attribute_name(name: &str, path: &Path, errors: &mut ErrorList) {
    let (domain, id) = match name.split_once('/') {
        Some((_, id)) if id.contains('/') => return,
        Some((domain, id)) => (Some(domain), id),
        None => (None, name),
    };
    match domain {
        Some("") => errors.invalid(path, "", "the domain must not be empty"),
        Some(domain) => {
            if domain.len() > DOMAIN_BYTES_MAX {
                errors.too_long(path, DOMAIN_BYTES_MAX);
            }
            errors.invalid_each(path, domain, names::dns_subdomain(&domain.to_lowercase()));
        }
        None => {}
    }
    if domain.is_some() && id.is_empty() {
        errors.invalid(path, "", "the name must not be empty");
        return;
    }
    if id.len() > ID_BYTES_MAX {
        errors.too_long(path, ID_BYTES_MAX);
    }
    let sound = id.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !sound {
        errors.invalid(
            path,
            id,
            "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric \
             characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is \
             '[A-Za-z_][A-Za-z0-9_]*')",
        );
    }
}

/// Checks the name of an attribute that must have a domain.
pub(super) fn validate_full_attribute_name(name: &At<'_>, errors: &mut ErrorList) {
    validate_attribute_name(name.text(), &name.path, errors);
    if !name.text().contains('/') {
        name.invalid(errors, "a fully qualified name must be a domain and a name separated by a slash");
    }
}

/// Checks settings or state of a driver: an object, of at most so many bytes.
pub(super) fn validate_raw(raw: &At<'_>, bytes_max: usize, errors: &mut ErrorList) {
    if !raw.is_set() {
        errors.required(&raw.path, "");
    } else if serde_json::to_string(raw.value).map_or(0, |text| text.len()) > bytes_max {
        errors.too_long(&raw.path, bytes_max);
    } else if raw.map().is_none() {
        errors.invalid(&raw.path, "<value omitted>", "must be a valid JSON object");
    }
}
