//! Definitions in Kubernetes' own groups say where they were approved.

use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::validation::{ErrorList, Path};
use mainstay_apiserver_machinery::value::Value;

const ANNOTATION: &str = "api-approved.kubernetes.io";

/// What the annotation says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Approval<'a> {
    Approved(&'a str),
    Bypassed(&'a str),
    Missing,
    Invalid(&'a str),
}

/// What a definition says of its approval; none when its group needs none.
pub(super) fn approval(crd: &Value) -> Option<Approval<'_>> {
    let group = crd.path_str(&["spec", "group"]).unwrap_or_default();
    let is_protected = ["k8s.io", "kubernetes.io"]
        .iter()
        .any(|own| group.strip_suffix(own).is_some_and(|before| before.is_empty() || before.ends_with('.')));
    if !is_protected {
        return None;
    }
    Some(match Meta(crd).annotation(ANNOTATION).unwrap_or_default() {
        "" => Approval::Missing,
        text if text.starts_with("unapproved") => Approval::Bypassed(text),
        text if is_link(text) => Approval::Approved(text),
        text => Approval::Invalid(text),
    })
}

fn is_link(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, rest)| {
        !scheme.is_empty()
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric())
            && !rest.is_empty()
            && !rest.starts_with('/')
    })
}

/// Reports a missing or malformed approval; one that was missing before may stay missing.
pub(super) fn check_approval(crd: &Value, old: Option<&Value>, errors: &mut ErrorList) {
    let Some(state) = approval(crd) else { return };
    if old.is_some_and(|old| approval(old) == Some(state)) {
        return;
    }
    let path = Path::new("metadata").child("annotations").key(ANNOTATION);
    match state {
        Approval::Approved(_) | Approval::Bypassed(_) => {}
        Approval::Missing => errors.required(
            &path,
            "protected groups must have approval annotation \"api-approved.kubernetes.io\", see \
             https://github.com/kubernetes/enhancements/pull/1111",
        ),
        Approval::Invalid(text) => errors.invalid(
            &path,
            text,
            "protected groups must have approval annotation \"api-approved.kubernetes.io\" with either a URL or a \
             reason starting with \"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111",
        ),
    }
}
