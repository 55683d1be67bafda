//! What both classes of volumes carry: who makes them, and parameters for that.

use mainstay_apiserver_machinery::validation::{At, ErrorList, names};

const PARAMETERS_BYTES_MAX: usize = 256 * 1024;
const PARAMETERS_MAX: usize = 512;

/// Checks the name of a driver or provisioner.
pub(super) fn validate_driver(driver: &At<'_>, errors: &mut ErrorList) {
    if driver.require(errors, "") {
        let lower = driver.text().to_lowercase();
        errors.invalid_each(&driver.path, &lower, names::qualified_name(&lower));
    }
}

pub(super) fn validate(parameters: &At<'_>, may_be_empty: bool, errors: &mut ErrorList) {
    if parameters.len() > PARAMETERS_MAX {
        errors.too_long(&parameters.path, PARAMETERS_MAX);
        return;
    }
    let mut bytes = 0;
    for (key, value) in parameters.entries() {
        if key.is_empty() {
            errors.invalid(&parameters.path, key, "field can not be empty.");
        }
        bytes += key.len() + value.text().len();
    }
    if bytes > PARAMETERS_BYTES_MAX {
        errors.too_long(&parameters.path, PARAMETERS_BYTES_MAX);
    }
    if !may_be_empty && parameters.is_empty() {
        errors.required(&parameters.path, "must contain at least one key/value pair");
    }
}

/// Reports fields of a class that an update changes.
pub(super) fn validate_fixed(new: &At<'_>, old: &At<'_>, fields: &[&str], errors: &mut ErrorList) {
    for name in fields {
        let field = new.get(name);
        if field.value != old.get(name).value {
            errors.forbidden(&field.path, &format!("updates to {name} are forbidden."));
        }
    }
}
