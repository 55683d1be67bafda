//! What an update of a signing request may change: the approval only through `approval`, the certificate only through
//! `status` and only once.

use mainstay_apiserver_machinery::validation::{ErrorList, Path};
use mainstay_apiserver_machinery::value::Value;

const DECISIONS: [&str; 2] = ["Approved", "Denied"];
const CERTIFICATE: &[&str] = &["status", "certificate"];

fn conditions<'a>(object: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    let all = object.path_list(&["status", "conditions"]).iter();
    all.filter(move |condition| condition.path_str(&["type"]) == Some(kind))
}

/// Gives conditions that decide the request the values that they have in `old`.
pub(super) fn preserve_decision(new: &mut Value, old: &Value) {
    let list = new.path_mut(&["status", "conditions"]).and_then(Value::as_list_mut);
    for condition in list.into_iter().flatten() {
        let kind = condition.path_str(&["type"]).unwrap_or_default();
        if !DECISIONS.contains(&kind) {
            continue;
        }
        let stored = conditions(old, kind).next().cloned();
        if let Some(stored) = stored {
            *condition = stored;
        }
    }
}

/// Checks a change; `decides` allows that of the decision, `issues` that of the certificate.
pub(super) fn validate_change(new: &Value, old: &Value, decides: bool, issues: bool, errors: &mut ErrorList) {
    let path = Path::new("status").child("conditions");
    for kind in ["Approved", "Denied", "Failed"] {
        if conditions(new, kind).count() < conditions(old, kind).count() {
            errors.forbidden(&path, &format!("updates may not remove a condition of type {kind:?}"));
        }
    }
    for kind in DECISIONS.iter().filter(|_| !decides) {
        let (now, was) = (conditions(new, kind).count(), conditions(old, kind).count());
        if now > was {
            errors.forbidden(&path, &format!("updates may not add a condition of type {kind:?}"));
        } else if now == was && !conditions(new, kind).eq(conditions(old, kind)) {
            errors.forbidden(&path, &format!("updates may not modify a condition of type {kind:?}\n"));
        }
    }
    if new.path(CERTIFICATE) == old.path(CERTIFICATE) {
        return;
    }
    let path = Path::new("status").child("certificate");
    if !issues {
        errors.forbidden(&path, "updates may not set certificate content");
    } else if !old.path_str(CERTIFICATE).unwrap_or_default().is_empty() {
        errors.forbidden(&path, "updates may not modify existing certificate content");
    }
}
