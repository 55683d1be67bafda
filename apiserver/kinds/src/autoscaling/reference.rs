//! References to what is scaled, and to what a metric describes.

use crate::formats::validate_segment;
use mainstay_apiserver_machinery::validation::{At, ErrorList};

/// Whether an `apiVersion` must have a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    /// It must.
    Required,
    /// It may be one of the core group, or absent.
    Optional,
    /// It may be anything: it was stored when nothing was checked.
    Unchecked,
}

/// Checks a reference.
pub(super) fn validate_reference(reference: &At<'_>, group: Group, errors: &mut ErrorList) {
    for field in ["kind", "name"] {
        validate_segment(&reference.get(field), "", errors);
    }
    let version = reference.get("apiVersion");
    if let Some(fault) = version_fault(version.text(), group) {
        errors.invalid(&version.path, version.text(), &fault);
    }
}

/// What is wrong with an `apiVersion`.
pub(super) fn version_fault(version: &str, group: Group) -> Option<String> {
    if group == Group::Unchecked {
        return None;
    }
    if version.matches('/').count() > 1 {
        return Some(format!("unexpected GroupVersion string: {version}"));
    }
    let stated = version.split_once('/').map_or("", |(stated, _)| stated);
    (group == Group::Required && stated.is_empty()).then(|| "apiVersion must specify API group".into())
}
