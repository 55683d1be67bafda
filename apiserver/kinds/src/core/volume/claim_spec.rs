//! The check of a claim's spec, which templates of workloads hold as well.

use super::modes::validate_access_modes;
use crate::amount::{quantity, validate_positive_quantity};
use mainstay_apiserver_machinery::validation::{At, ErrorList, names, validate_label_selector};

/// Checks the spec of a PersistentVolumeClaim.
pub(crate) fn validate_claim_spec(spec: &At<'_>, errors: &mut ErrorList) {
    let modes = spec.get("accessModes");
    modes.require(errors, "at least 1 access mode is required");
    let selector = spec.get("selector");
    if selector.is_set() {
        validate_label_selector(selector.value, true, &selector.path, errors);
    }
    validate_access_modes(&modes, errors);
    let requested = spec.dig(&["resources", "requests", "storage"]);
    // Upstream leaves out `requests` in the path.
    let at = At::new(requested.value, spec.path.child("resources").key("storage"));
    if at.require(errors, "") {
        validate_positive_quantity(&at, errors);
        if quantity(&at).is_some_and(|amount| !amount.is_negative() && !amount.is_whole()) {
            at.invalid(errors, "must be an integer");
        }
    }
    for field in ["storageClassName", "volumeAttributesClassName"] {
        let class = spec.get(field);
        if !class.is_empty() {
            class.invalid_each(errors, names::dns_subdomain(class.text()));
        }
    }
    let mode = spec.get("volumeMode");
    if mode.is_set() {
        mode.one_of(errors, &["Block", "Filesystem"]);
    }
    validate_sources(spec, errors);
}

fn validate_sources(spec: &At<'_>, errors: &mut ErrorList) {
    let (source, reference) = (spec.get("dataSource"), spec.get("dataSourceRef"));
    for source in [&source, &reference].into_iter().filter(|source| source.is_set()) {
        validate_source(source, errors);
    }
    if !source.is_set() || !reference.is_set() {
        return;
    }
    let same = ["apiGroup", "kind", "name"]
        .iter()
        .all(|field| source.value.get(field) == reference.value.get(field));
    let text = if !reference.get("namespace").is_empty() {
        "may not be specified when dataSourceRef.namespace is specified"
    } else if same {
        return;
    } else {
        "must match dataSourceRef"
    };
    errors.invalid(&spec.path, source.path.as_str(), text);
}

fn validate_source(source: &At<'_>, errors: &mut ErrorList) {
    source.get("name").require(errors, "");
    let (kind, group) = (source.get("kind"), source.get("apiGroup"));
    kind.require(errors, "");
    if group.is_empty() && kind.text() != "PersistentVolumeClaim" {
        let text = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        errors.invalid(&source.path, kind.text(), text);
    }
    if !group.is_empty() {
        group.invalid_each(errors, names::dns_subdomain(group.text()));
    }
    let namespace = source.get("namespace");
    if !namespace.is_empty() {
        namespace.invalid_each(errors, names::dns_label(namespace.text()));
    }
}
