//! The check of the name of a signer.

use mainstay_apiserver_machinery::validation::{At, ErrorList, names};

/// Checks the name of a signer: `example.com/name`.
pub(crate) fn validate_signer_name(field: &At<'_>, errors: &mut ErrorList) {
    let name = field.text();
    field.require(errors, "");
    let mut segments = name.split('/');
    let (Some(domain), Some(path), None) = (segments.next(), segments.next(), segments.next()) else {
        field.invalid(
            errors,
            "must be a fully qualified domain and path of the form 'example.com/signer-name'",
        );
        return;
    };
    if domain.len() > 253 {
        errors.too_long(&field.path, 253);
    }
    validate_labels_of(field, domain, names::dns_label, errors);
    if !domain.contains('.') {
        let text = "should be a domain with at least two segments separated by dots";
        errors.invalid(&field.path, domain, text);
    }
    validate_labels_of(field, path, names::dns_subdomain, errors);
    if name.len() > 571 {
        errors.too_long(&field.path, 571);
    }
}

/// Reports the first part between dots that `rule` finds fault with.
fn validate_labels_of(field: &At<'_>, segment: &str, rule: fn(&str) -> Vec<String>, errors: &mut ErrorList) {
    for label in segment.split('.') {
        let faults = rule(label);
        for fault in &faults {
            errors.invalid(&field.path, segment, &format!("validating label {label:?}: {fault}"));
        }
        if !faults.is_empty() {
            return;
        }
    }
}
